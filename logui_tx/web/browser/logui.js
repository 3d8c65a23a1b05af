// The browser client of LogUI 0.4. See docs/clients.md for its use and docs/protocol.md for what is said.
//
// Events gather in a buffer and leave it as payloads. A payload is an item { instance, id, events, text, data },
// where `events` is a count, `text` the message for the wire and `data` the application-specific data in force,
// as JSON. Items stay until the server has answered them, and never change, so that one sent twice is stored
// once; a copy in sessionStorage lets the tab's next page send them. The server answers in the order in which it
// was sent to, so an answer is to the first one in flight.

import { LISTENERS, listen, named, objection, referrer, whenShown, wire } from "./listeners.js";

const OPTIONS = {
  // At the server from which this file came.
  endpoint: "/logui/endpoint/0.4.0/",
  token: "",
  appData: {},
  listeners: LISTENERS,
  sampling: 50,
  bufferCount: 20,
  flushInterval: 1000,
  maxWaiting: 20_000,
  consent: true,
  respectDoNotTrack: false,
  respectGlobalPrivacyControl: false,
};
// Refusals that are not about this page.
const TRANSIENT = /shutting down|No handshake was made/;
// The others are called as their listeners.
const TYPES = { mouseclick: "click", keyboard: "keydown" };
// The instances of this very page: what they keep is theirs.
const living = new Set();

export class LogUI extends EventTarget {
  state = "off";
  // Its identifier; while it is undefined, JSON leaves it out.
  session;
  counts = { captured: 0, recovered: 0, sent: 0, acknowledged: 0, refused: 0, dropped: 0 };
  #options = { ...OPTIONS };
  // crypto.randomUUID is missing where the page came by plain HTTP.
  #instance = crypto.getRandomValues(new Uint32Array(4)).join("");
  // The application-specific data of what is logged from now on, as JSON.
  #data = "{}";
  // The data as the server has it; null stands for what it may have or not.
  #known;
  // Events as JSON, and how many.
  #buffer = "";
  #count = 0;
  #items = [];
  // Characters in all items.
  #size = 0;
  #lastID = 0;
  // What was sent on this connection and not answered: items, and changes of the data.
  #flight = new Set();
  // What older ones say is ignored.
  #socket;
  // Tries since the last success.
  #failures = 0;
  // The handshake was accepted, and the server can store as far as we know.
  #ready;
  // The word with which the session is left for good.
  #ending;
  // Such a word was sent on this connection.
  #said;
  // The page is gone, maybe to the back-forward cache.
  #away;
  // Stands for this start; what belongs to an older one is void.
  #turn;
  // Listens, while events are captured.
  #page;
  #timers = {};

  constructor(options) {
    super();
    this.#set(options);
    living.add(this.#instance);
    const on = (where, type, call, first) => {
      where.addEventListener(type, (event) => this.#page && this.#try(() => call(event)), first);
    };
    // Before anything of it is told.
    on(window, "pageshow", ({ persisted }) => persisted && this.#begin(), true);
    // The page may end here, silently.
    on(document, "visibilitychange", () => document.hidden && this.#hide());
    on(window, "pagehide", () => {
      this.#page.settle();
      this.#away = true;
      this.#hide(true);
      this.#drop();
    });
    on(window, "online", () => this.#socket || this.#connect());
  }

  // Events that are captured and not acknowledged.
  get waiting() {
    return this.#items.reduce((sum, { events }) => sum + events, this.#count);
  }

  get appData() {
    return JSON.parse(this.#data);
  }

  start(options) {
    if (this.#turn && !this.#ending) return this;
    this.#set(options);
    const turn = (this.#turn = {});
    const mine = (call) => turn === this.#turn && this.#try(call);
    const begin = () => whenShown(() => mine(() => this.#begin()));
    const decide = (agreed) => mine(() => (agreed ? begin() : this.#off("no consent")));
    const { consent } = this.#options;
    const why = objection(this.#options);
    this.#ending = "";
    if (why) this.#off(why);
    else if (consent === true) begin();
    else {
      this.#show("waiting");
      Promise.resolve(consent).then(decide, () => decide());
    }
    return this;
  }

  // Sends what is left and ends the session. `resumable`: start() goes on with it; `discard`: what is left is
  // forgotten.
  stop({ resumable, discard } = {}) {
    this.#try(() => {
      const begun = this.#page;
      begun?.stop();
      this.#page = null;
      if (discard) this.#discard();
      if (begun) {
        this.#ending = resumable ? "leavingPage" : "shutdownClient";
        this.#flush(true);
      }
      if (discard) this.#discard();
      if (this.#turn && !this.#ending) this.#off("stopped");
    });
  }

  // Logs an event of the page's own; whether it was taken.
  log(type, data) {
    return this.#try(() => this.#capture("customEvent", named(data, { type: String(type) }))) ?? false;
  }

  // Changes the application-specific data of all that is logged from now on, by key; null deletes.
  setData(changes) {
    this.#try(() => {
      const data = { ...this.appData, ...JSON.parse(wire(changes)) };
      for (const key in data) if (data[key] === null) delete data[key];
      this.#flush();
      this.#data = JSON.stringify(data);
      this.#transmit();
    });
  }

  deleteData(...keys) {
    for (const key of keys) this.setData({ [key]: null });
  }

  flush() {
    this.#try(() => this.#flush());
  }

  // --- beginning and ending

  #set(options) {
    Object.assign(this.#options, options);
    if (options?.appData) {
      this.#data = "{}";
      this.setData(options.appData);
    }
  }

  #begin() {
    this.#away = false;
    this.#gather();
    this.session = quietly(() => sessionStorage.getItem(this.#key("session"))) ?? this.session;
    this.#known = (this.session && this.#known) || JSON.parse(this.#items[0]?.data ?? this.#data);
    if (!this.#page) {
      const { listeners, sampling } = this.#options;
      // Of an element only what the page's author wrote.
      const describe = ({ id, localName }, masked) =>
        masked ? { masked: true } : { id: `${id ?? ""}`, tag: localName ?? "" };
      const tell = (kind, details, time) => {
        if (!this.#away) this.#capture("interactionEvent", { type: TYPES[kind] ?? kind, ...details }, time);
      };
      this.#page = {};
      listen(this.#page, listeners, { mousemove: sampling }, describe, tell, (error) => this.#fail(error));
    }
    this.#connect();
  }

  #hide(always) {
    this.#page.settle();
    this.#flush(always);
    this.#transmit(true);
  }

  #off(why, state = "off") {
    this.#page?.stop();
    this.#page = null;
    this.#drop();
    // For the tab's next page.
    this.#flush();
    this.#turn = null;
    this.#ending = "";
    this.#show(state, why);
  }

  #discard() {
    for (const key of this.#keys()) sessionStorage.removeItem(key);
    this.#items = [];
    this.#buffer = this.#ending = "";
    this.#count = 0;
    this.session = undefined;
  }

  // --- events

  #capture(eventType, eventDetails, clientDateTime = Date.now()) {
    if (!this.#page) return false;
    const { maxWaiting, bufferCount, flushInterval } = this.#options;
    if (this.waiting >= maxWaiting || this.#size > 8_000_000) {
      // The oldest stay: a record without its beginning says little.
      if (!this.counts.dropped++) this.#fail("too many events wait");
      return false;
    }
    const event = { clientDateTime, eventType, eventDetails };
    const text = wire(event);
    this.#buffer += (this.#count++ ? "," : "") + text;
    this.counts.captured++;
    this.#tell("captured", event);
    // The server takes 5,000 events and 4 MiB.
    const full = this.#count >= Math.min(bufferCount, 5_000) || this.#buffer.length > 300_000;
    if (full || this.#away) this.#flush();
    else this.#later("flush", flushInterval, () => this.#flush());
    return true;
  }

  #flush(always) {
    this.#cancel("flush");
    if (!this.#count && !always) return;
    const item = payload(this.#instance, ++this.#lastID, this.#count, this.#buffer, this.#data);
    this.#buffer = "";
    this.#count = 0;
    this.#items.push(item);
    this.#keep();
    this.#tell("queued", { ...item });
    this.#transmit();
  }

  // --- what waits

  #key(name) {
    const { endpoint, token } = this.#options;
    // A frame of the same origin has the same storage; it must not take what the page around it is sending.
    return `logui ${endpoint} ${String(token).slice(-16)}${self === top ? "" : location.pathname} ${name}`;
  }

  #keys() {
    return quietly(() => Object.keys(sessionStorage).filter((key) => key.startsWith(this.#key("")))) ?? [];
  }

  // Never a later one without the ones before: the server would take those for repeats.
  #keep() {
    let whole = true;
    this.#size = 0;
    for (const item of this.#items) {
      this.#size += item.text.length + item.data.length;
      // A later page does without empty ones.
      if (!whole || !item.events) continue;
      const key = this.#key(`${item.id} ${item.instance}`);
      const keep = () => (sessionStorage.setItem(key, JSON.stringify(item)), key);
      // Browsers give an origin about 5 million characters.
      whole = item.kept ||= this.#size < 2_000_000 && quietly(keep);
    }
  }

  // What earlier pages of the tab left is sent too. A page that goes may write it a little after the next one
  // has begun.
  #gather() {
    const keys = this.#keys();
    for (const item of [...this.#items]) {
      if (item.kept && !keys.includes(item.kept)) this.#acknowledged(item);
    }
    const found = keys.map((kept) => ({ ...quietly(() => JSON.parse(sessionStorage.getItem(kept))), kept }));
    for (const item of found.filter(({ text }) => text).sort((a, b) => a.id - b.id)) {
      if (living.has(item.instance) || this.#items.some(({ kept }) => kept === item.kept)) continue;
      this.#items.push(item);
      this.#lastID = Math.max(this.#lastID, item.id);
      this.counts.recovered += item.events;
    }
    this.#keep();
  }

  // It goes, and another may take its place; whether it was there.
  #replace(item, ...others) {
    const place = this.#items.indexOf(item);
    if (place < 0) return false;
    this.#items.splice(place, 1, ...others);
    if (item.kept) sessionStorage.removeItem(item.kept);
    this.#keep();
    return true;
  }

  // Sends what is not in flight, in order. Before items with other data goes a change, which waits for everything
  // before it, and everything after it for the change: else a retry could give events the wrong data. `now` is
  // for a page that goes away.
  #transmit(now) {
    if (this.#socket?.readyState !== 1 || (!now && !this.#ready)) return;
    // At last the data in force, though nothing is logged with it yet.
    for (const item of [...this.#items, { data: this.#data }]) {
      const [first] = this.#flight;
      if (this.#said || (first?.changes && !now)) break;
      if (this.#flight.has(item)) continue;
      if (JSON.stringify(this.#known) !== item.data) {
        if (first && !now) break;
        const changes = JSON.parse(item.data);
        for (const [key, value] of Object.entries(this.#known)) {
          if (JSON.stringify(value) === JSON.stringify(changes[key])) delete changes[key];
          else changes[key] ??= null;
        }
        const message = { payloadType: "LogUIAppSpecificLogDataChange", appSpecificLogData: changes };
        this.#send({ changes, events: 0 }, JSON.stringify(message));
        this.#known = JSON.parse(item.data);
        if (!now) break;
      }
      if (!item.text) break;
      const word = this.#ending || (this.#away && "leavingPage");
      this.#said = word && item === this.#items.at(-1);
      // As the last one of its connection; the item itself does without the word.
      this.#send(item, this.#said ? `${item.text.slice(0, -1)},"session":"${word}"}` : item.text);
    }
  }

  #send(item, text) {
    this.#socket.send(text);
    this.#flight.add(item);
    this.#await();
    if (!item.sentAt) this.counts.sent += item.events;
    item.sentAt = performance.now();
  }

  // --- the connection

  #connect() {
    this.#drop();
    this.#show("connecting");
    try {
      const { href } = new URL(this.#options.endpoint, import.meta.url);
      const socket = (this.#socket = new WebSocket(href.replace(/^http/, "ws")));
      const hear = (call) => (event) => socket === this.#socket && this.#try(() => call(event));
      socket.onopen = hear(() => socket.send(JSON.stringify({
        payloadType: "LogUIHandshake",
        clientDateTime: Date.now(),
        appIdentifier: this.#options.token,
        appSpecificLogData: this.#known,
        clientInstance: this.#instance,
        referrer: referrer(),
        sessionIdentifier: this.session,
      })));
      socket.onmessage = hear(({ data }) => this.#hear(JSON.parse(data)));
      socket.onclose = hear((event) => this.#closed(event));
    } catch (error) {
      return this.#off(error.message, "refused");
    }
    this.#await();
  }

  // The server owes an answer: silence for 30 s means that the connection is lost.
  #await() {
    this.#later("answer", 30_000, () => this.#closed({ code: 1006, reason: "no answer" }));
  }

  // What was in flight may or may not be stored: the next handshake tells.
  #drop() {
    const socket = this.#socket;
    this.#socket = null;
    while (this.#flight.size) this.#lose();
    this.#ready = this.#said = false;
    this.#cancel("again");
    this.#cancel("answer");
    socket?.close(1000);
  }

  #closed({ code, reason }) {
    const over = this.#said && code === 1000;
    this.#drop();
    if (over) {
      // The server says goodbye when the last payload is stored.
      for (const item of [...this.#items]) this.#acknowledged(item);
      if (this.#ending === "shutdownClient") this.#discard();
      return this.#off("", "stopped");
    }
    // With jitter: pages that lost the same server must not all come back at once.
    const pause = (this.#pause(500) * (1 + Math.random())) / 2;
    this.#later("again", pause, () => this.#connect());
    this.#show(code < 1002 ? "shutdown" : "closed", `${code}${reason && ", "}${reason}`, pause);
  }

  // --- what the server says

  #hear({ statusCode, sessionIdentifier, lastPayloadID, errorDetails: { errorString = "", terminate } = {} }) {
    const status = Number(statusCode);
    this.#cancel("answer");
    if (status < 202) this.#failures = 0;
    if (status === 200) {
      this.#ready = true;
      this.session = sessionIdentifier;
      quietly(() => sessionStorage.setItem(this.#key("session"), sessionIdentifier));
      this.#show("listening");
      // Of these only the acknowledgement was lost.
      for (const item of [...this.#items]) {
        if (item.instance === this.#instance && item.id <= lastPayloadID) this.#acknowledged(item);
      }
      this.#gather();
    } else if (status === 201) {
      const item = this.#land();
      if (item) this.#acknowledged(item);
    } else if (status === 400) {
      // Then it closes, and we come again.
      if (TRANSIENT.test(errorString)) return;
    } else if (status < 404) this.#wrong(errorString);
    else if (status === 501) {
      this.#show("shutdown", "the server shuts down");
      this.#flush();
    } else if (status === 500 && !terminate) {
      this.#lose();
      if (this.#ready) this.#show("listening", "cannot store at the moment");
      this.#ready = this.#said = false;
    }
    if (status === 400 || status === 402) this.#off(errorString, "refused");
    if (this.#socket?.readyState === 1) this.#rest();
  }

  // What is answered.
  #land() {
    const [item] = this.#flight;
    this.#flight.delete(item);
    return item;
  }

  // It is sent again, if it was an item.
  #lose() {
    const { changes } = this.#land() ?? {};
    for (const key in changes) this.#known[key] = null;
  }

  #acknowledged(item) {
    // It may have been in flight when the handshake told.
    if (!item.changes && !this.#replace(item)) return;
    this.counts.acknowledged += item.events;
    this.#tell("acknowledged", { ...item });
  }

  // One bad event must not cost the others: they go again. Under an instance of their own, for which later ids
  // do not matter; always the same one, should another tab do this too.
  #wrong(why) {
    const item = this.#land();
    if (!item) return;
    const { instance, id, text, data, sentAt } = item;
    const [, position] = /position \[(\d+)\]/.exec(why) ?? [];
    const events = position ? JSON.parse(text).eventsToBeLogged : [];
    const [event] = events.splice(position, 1);
    const texts = events.map((other) => JSON.stringify(other)).join();
    const rest = { ...payload(`${instance}-${id}`, id, events.length, texts, data), sentAt };
    this.#replace(item, ...(texts ? [rest] : []));
    this.counts.refused += item.events - events.length;
    this.#fail(why, { ...item, event });
  }

  // Payloads after one that could not be stored are answered with 500 too. All of them go again, in order, when
  // the last answer is there: sooner, a later one could be stored first, and the earlier one look like a repeat.
  // A server that shuts down is left when nothing is owed, for it may wait for us, and another may take over.
  #rest() {
    this.#transmit();
    if (this.#flight.size) this.#await();
    else if (this.state === "shutdown" && !this.waiting) this.#socket.close(1000);
    else if (this.#ending && !this.#items.length) this.#flush(true);
    else if (!this.#ready && !this.#timers.again) {
      this.#later("again", this.#pause(1000), () => {
        this.#ready = true;
        this.#show("listening");
        this.#transmit();
      });
    }
  }

  // --- small things

  // Doubling up to 15 s, in ms.
  #pause(first) {
    return Math.min(15_000, first * 2 ** this.#failures++);
  }

  #later(name, pause, call) {
    this.#timers[name] ??= setTimeout(() => {
      this.#cancel(name);
      this.#try(call);
    }, pause);
  }

  #cancel(name) {
    this.#timers[name] = clearTimeout(this.#timers[name]);
  }

  #show(state, detail = "", retryIn) {
    this.state = state;
    this.#tell("state", { state, detail, retryIn });
  }

  #fail(error, details) {
    this.#tell("error", { message: `${error?.message ?? error}`, ...details });
  }

  // Not at once: who starts a client can listen first, and nobody is called in the middle of something.
  #tell(type, detail) {
    queueMicrotask(() => this.dispatchEvent(new CustomEvent(type, { detail })));
  }

  // Nothing of this file is ever thrown into the page.
  #try(call) {
    try {
      return call();
    } catch (error) {
      this.#fail(error);
    }
  }
}

// Of a storage that may be full, or forbidden: nothing where it fails.
function quietly(call) {
  try {
    return call();
  } catch {}
}

function payload(instance, id, events, texts, data) {
  const start = `{"payloadType":"LogUIEventPayload","clientInstance":"${instance}","payloadID":${id}`;
  return { instance, id, events, text: `${start},"eventsToBeLogged":[${texts}]}`, data };
}

export function start(options) {
  return new LogUI().start(options);
}
