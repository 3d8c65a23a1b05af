// What people do on a page, told in plain facts: never which key, never a field's value. Both clients use it.

export const LISTENERS = [
  "mouseclick", "mousemove", "scroll", "keyboard", "focus", "resize", "navigation", "submit",
];
const SAMPLING = { mousemove: 50, scroll: 200, resize: 200 }; // ms between two of a kind
const LONGEST_ID = 200; // characters
const DEEPEST = 100; // nesting of what a page logs
const MASKED = "[data-logui-mask], input[type=password]";
const TYPED = "input, textarea, select, [contenteditable]";

// Why nothing may be captured; empty where it may.
export function objection({ respectDoNotTrack = true, respectGlobalPrivacyControl = true }) {
  if (respectGlobalPrivacyControl && navigator.globalPrivacyControl) return "Global Privacy Control";
  return respectDoNotTrack && navigator.doNotTrack === "1" ? "Do Not Track" : "";
}

function isMasked(element) {
  return Boolean(element?.closest?.(MASKED));
}

// Of an element only what the page's author wrote.
export function idAndTag({ id, localName }) {
  return { id: String(id ?? "").slice(0, LONGEST_ID), tag: localName ?? "" };
}

// The beginning of what an element says. What holds a field or something masked says nothing: it may be the
// visitor's.
function textOf(element, longest) {
  const secret = `${MASKED}, ${TYPED}`;
  if (!(longest > 0) || !element.closest) return undefined;
  if (element.closest(secret) || element.querySelector(secret)) return undefined;
  return element.textContent.trim().replace(/\s+/g, " ").slice(0, longest) || undefined;
}

// A copy as the wire has it: what cannot be sent fails now, and what the page changes later stays as it was.
export function plain(value) {
  const copy = JSON.parse(JSON.stringify(value ?? {}));
  const shallow = (part, left) =>
    left > 0 && (Object(part) !== part || Object.values(part).every((one) => shallow(one, left - 1)));
  if (!shallow(copy, DEEPEST)) throw new RangeError(`what is logged may nest ${DEEPEST} deep`);
  return copy;
}

export function randomText() {
  // crypto.randomUUID is missing where the page came by plain HTTP.
  return Array.from(crypto.getRandomValues(new Uint32Array(4)), (number) => number.toString(36)).join("");
}

// A page that is rendered ahead has no visitor yet.
export function whenShown(call) {
  if (!document.prerendering) return call();
  document.addEventListener("prerenderingchange", call, { once: true });
}

const watchers = new Set(); // who is told of pushState and replaceState
let wrapped = false;

function watchHistory(watcher) {
  watchers.add(watcher);
  if (wrapped) return;
  wrapped = true;
  for (const how of ["pushState", "replaceState"]) {
    const original = history[how];
    history[how] = function (...details) {
      const result = original.apply(this, details);
      for (const tell of watchers) tell(how);
      return result;
    };
  }
}

// Listens on the page. Calls `tell(kind, details, time)`; returns { settle, stop }: tell now what is being
// sampled, and listen no more. Of `options`, `sampling` overrides SAMPLING, `target(element)` describes an
// element, `masked` stands for one that is masked, `path(location)` describes a place, `text` is how much of a
// clicked element's text is told. What fails goes to `fail`, never to the page.
export function listen(names, options, tell, fail) {
  const sampling = { ...SAMPLING, ...options.sampling };
  const stops = [];
  const waiting = new Map(); // what is being sampled -> { timer, take }

  const guarded = (call) => (...details) => {
    try {
      return call(...details);
    } catch (error) {
      fail(error);
    }
  };

  const on = (where, type, call) => {
    const heard = guarded(call);
    where.addEventListener(type, heard, { capture: true, passive: true });
    stops.push(() => where.removeEventListener(type, heard, { capture: true }));
  };

  // Takes once `pause` ms are over; of several takes of one thing the last.
  const later = (what, pause, take) => {
    const known = waiting.get(what);
    if (known) {
      known.take = take;
      return;
    }
    waiting.set(what, { take, timer: setTimeout(guarded(() => settleOne(what)), pause) });
  };

  const settleOne = (what) => {
    const { take, timer } = waiting.get(what) ?? {};
    clearTimeout(timer);
    waiting.delete(what);
    take?.();
  };

  const target = (element) => ({ target: isMasked(element) ? options.masked : options.target(element) });

  const at = ({ clientX, clientY }) => ({ x: Math.round(clientX), y: Math.round(clientY) });

  const kinds = {
    mouseclick() {
      on(document, "click", (event) => {
        const text = isMasked(event.target) ? undefined : textOf(event.target, options.text);
        tell("mouseclick", { ...at(event), ...target(event.target), text }, Date.now());
      });
    },

    mousemove() {
      let next = -Infinity;
      on(document, "pointermove", (event) => { // a finger makes no mouse moves
        const [details, time] = [at(event), Date.now()];
        const now = performance.now();
        const take = () => tell("mousemove", details, time);
        if (now < next) {
          later("mousemove", next - now, () => {
            next = performance.now() + sampling.mousemove;
            take();
          });
          return;
        }
        next = now + sampling.mousemove;
        settleOne("mousemove");
        take();
      });
    },

    scroll() {
      on(document, "scroll", ({ target: element }) => {
        const place = element.scrollingElement ?? element;
        // Where it stands is read later: here that could make the browser lay out the page again.
        later(place, sampling.scroll, () => {
          const [x, y] = [Math.round(place.scrollLeft), Math.round(place.scrollTop)];
          tell("scroll", { x, y, ...(place === element && target(place)) }, Date.now());
        });
      });
    },

    keyboard() {
      on(document, "keydown", (event) => {
        // The rhythm of a password is nobody's business either.
        if (event.repeat || isMasked(event.target)) return;
        tell("keyboard", target(event.target), Date.now());
      });
    },

    focus() {
      const say = (state) => tell("focus", { state }, Date.now());
      for (const type of ["focus", "blur"]) {
        on(window, type, (event) => event.target === window && say(type));
      }
      on(document, "visibilitychange", () => say(document.visibilityState));
    },

    resize() {
      on(window, "resize", () => later("resize", sampling.resize, () => {
        tell("resize", { width: innerWidth, height: innerHeight }, Date.now());
      }));
    },

    navigation() {
      const say = guarded((how) => tell("navigation", { how, path: options.path(location) }, Date.now()));
      watchHistory(say);
      stops.push(() => watchers.delete(say));
      for (const type of ["popstate", "hashchange"]) on(window, type, () => say(type));
      on(window, "pageshow", ({ persisted }) => persisted && say("back-forward"));
      say("load");
    },

    submit() {
      on(document, "submit", (event) => tell("submit", target(event.target), Date.now()));
    },
  };

  const settle = () => {
    for (const what of [...waiting.keys()]) guarded(settleOne)(what);
  };
  for (const name of names) guarded(() => kinds[name]())();
  return {
    settle,
    stop() {
      settle();
      for (const stop of stops.splice(0)) stop();
    },
  };
}
