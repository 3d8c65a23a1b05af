// What people do on a page, told in plain facts: never which key, never a field's value. Both clients use it.

export const LISTENERS = [
  "mouseclick", "mousemove", "scroll", "keyboard", "focus", "resize", "navigation", "submit",
];
const HISTORY = ["pushState", "replaceState"];
const MASKED = "[data-logui-mask], input[type=password]";

// Why nothing may be captured; empty where it may.
export function objection({ respectDoNotTrack, respectGlobalPrivacyControl }) {
  if (respectGlobalPrivacyControl && navigator.globalPrivacyControl) return "Global Privacy Control";
  return respectDoNotTrack && navigator.doNotTrack === "1" ? "Do Not Track" : "";
}

// As JSON; throws what the wire does not take.
export function wire(value) {
  const text = JSON.stringify(value);
  const deep = (part, left) =>
    Object(part) === part && (!left || Object.values(part).some((inner) => deep(inner, left - 1)));
  if (text.length > 100_000 || deep(JSON.parse(text), 100)) throw new RangeError("too long or too deep");
  return text;
}

// What a page logs, under a name of its own.
export function named(data, name) {
  return { ...(Object(data) === data ? data : { data }), ...name };
}

export function referrer() {
  return document.referrer.replace(/[?#].*/, "");
}

// A page that is rendered ahead has no visitor yet.
export function whenShown(call) {
  if (!document.prerendering) return call();
  document.addEventListener("prerenderingchange", call, { once: true });
}

// Hears of pushState and replaceState, once somebody asked for it.
let moves;

function watchHistory() {
  moves = new EventTarget();
  for (const how of HISTORY) {
    const original = history[how];
    history[how] = function (...details) {
      const result = original.apply(this, details);
      moves.dispatchEvent(new Event(how));
      return result;
    };
  }
}

// Listens on the page. Calls `tell(kind, details, time)`; gives `page` settle() and stop(): tell now what is
// being sampled, and listen no more. `sampling` has the ms between two of a kind; `describe(element, masked)`
// what to tell of an element. What fails goes to `fail`, never to the page.
export function listen(page, names, sampling, describe, tell, fail) {
  const pauses = { mousemove: 50, scroll: 200, resize: 200, ...sampling };
  const stopped = new AbortController();
  // What is being sampled, and the last take of it that waits.
  const waiting = new Map();

  const guarded = (call) => (event) => {
    try {
      call(event);
    } catch (error) {
      fail(error);
    }
  };

  const on = (where, types, call) => {
    for (const type of types) {
      const { signal } = stopped;
      where.addEventListener(type, guarded(call), { capture: true, passive: true, signal });
    }
  };

  // Takes at once, or when the pause since the last one of it is over; of those between only the last.
  const sample = (kind, take, what = kind) => {
    if (!pauses[kind]) return take();
    if (waiting.has(what)) return waiting.set(what, take);
    waiting.set(what);
    const over = () => {
      const last = waiting.get(what);
      waiting.delete(what);
      if (last) sample(kind, last, what);
    };
    setTimeout(guarded(over), pauses[kind]);
    take();
  };

  const masked = (element) => element.closest?.(MASKED);
  const target = ({ target: element }) => ({ target: describe(element, masked(element)) });
  const at = ({ clientX, clientY }) => ({ x: Math.round(clientX), y: Math.round(clientY) });

  const kinds = {
    mouseclick: () => on(document, ["click"], (event) => tell("mouseclick", { ...at(event), ...target(event) })),

    // A finger makes no mouse moves.
    mousemove: () => on(document, ["pointermove"], (event) => {
      const details = at(event);
      const time = Date.now();
      sample("mousemove", () => tell("mousemove", details, time));
    }),

    scroll: () => on(document, ["scroll"], (event) => {
      const element = event.target;
      const place = element.scrollingElement ?? element;
      const where = () => at({ clientX: place.scrollLeft, clientY: place.scrollTop });
      sample("scroll", () => tell("scroll", { ...where(), ...(place === element && target(event)) }), place);
    }),

    // The rhythm of a password is nobody's business either.
    keyboard: () => on(document, ["keydown"], (event) => {
      if (!event.repeat && !masked(event.target)) tell("keyboard", target(event));
    }),

    focus() {
      on(window, ["focus", "blur"], (event) => event.target === window && tell("focus", { state: event.type }));
      on(document, ["visibilitychange"], () => tell("focus", { state: document.visibilityState }));
    },

    resize: () => on(window, ["resize"], () => {
      sample("resize", () => tell("resize", { width: innerWidth, height: innerHeight }));
    }),

    navigation() {
      const say = (how) => tell("navigation", { how, path: location.pathname });
      if (!moves) watchHistory();
      on(moves, HISTORY, ({ type }) => say(type));
      on(window, ["popstate", "hashchange"], ({ type }) => say(type));
      on(window, ["pageshow"], ({ persisted }) => persisted && say("back-forward"));
      say("load");
    },

    submit: () => on(document, ["submit"], (event) => tell("submit", target(event))),
  };

  page.settle = () => {
    for (const [what, take] of waiting) {
      waiting.set(what);
      if (take) guarded(take)();
    }
  };
  page.stop = () => {
    page.settle();
    stopped.abort();
  };
  for (const name of names) guarded(() => kinds[name]())();
}
