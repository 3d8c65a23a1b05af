// The browser client of LogUI 0.4: docs/clients.md has its use, docs/protocol.md what is said.
//
// Events gather in a buffer, leave it as payloads into the outbox, and stay there until the server has answered
// them. It answers in the order in which it was sent to, so an answer is to the first one in flight.

import { Connection } from "./connection.js";
import { LISTENERS, idAndTag, listen, objection, plain, randomText, whenShown } from "./listeners.js";
import { Outbox, about, change, changed, difference, leaving, payload } from "./outbox.js";

const OPTIONS = {
  endpoint: "/logui/endpoint/0.4.0/", // at the server from which this file came
  token: "",
  appData: {},
  listeners: LISTENERS,
  sampling: {},
  text: 0,
  describe: undefined,
  path: ({ pathname }) => pathname,
  bufferCount: 20,
  flushInterval: 1000,
  maxWaiting: 20_000,
  consent: undefined,
  respectDoNotTrack: true,
  respectGlobalPrivacyControl: true,
};
const MOST_EVENTS = 5_000; // in a payload
const LONGEST_EVENT = 100_000; // characters
const LONGEST_PAYLOAD = 300_000; // characters past which it is sent; the server takes 4 MiB
const MOST_CHARACTERS = 8_000_000; // waiting in memory
const RETRY = { first: 1_000, longest: 15_000 }; // ms, when the server could not store
const TRANSIENT = /shutting down|No handshake was made/; // refusals that are not about this page
const MASKED = { masked: true };
const TYPES = { mouseclick: "click", keyboard: "keydown" }; // the others are called as their listeners

export class LogUI extends EventTarget {
  state = "off";
  session; // its identifier; while it is undefined, JSON leaves it out
  counts = { captured: 0, recovered: 0, sent: 0, acknowledged: 0, refused: 0, dropped: 0 };
  #options;
  #outbox;
  #known; // the application-specific data as far as the server has acknowledged it
  #buffer = []; // events as JSON
  #size = 0; // characters in the buffer
  #gap = 0; // events dropped since the last one that was taken
  #lastID = 0;
  #flight = []; // items sent on this connection and not answered, in the order of sending
  #connection;
  #welcome = false; // the handshake was accepted
  #holding = false; // the server could not store: wait before sending again
  #moving = false; // the server shuts down: on to the next
  #unstored = 0; // times the server could not store since the last success
  #ending = ""; // the word with which the session is left for good
  #said = false; // such a word was sent on this connection
  #away = false; // the page is gone, maybe to the back-forward cache
  #turn = null; // stands for this start; what belongs to an older one is void
  #page = null; // listens, while events are captured
  #timers = {};

  constructor(options) {
    super();
    this.#options = { ...OPTIONS, ...options };
    const { endpoint, token, appData } = this.#options;
    this.#known = changed({}, appData);
    // A frame of the same origin shares the storage; what the page around it sends is not its business.
    const frame = self === top ? "" : location.pathname;
    this.#outbox = new Outbox(`${endpoint} ${String(token).slice(-16)}${frame}`, randomText());
    this.#connection = new Connection(endpoint, {
      opened: () => this.#connection.send(this.#hello()),
      heard: (message) => this.#hear(message),
      closed: (event) => this.#closed(event),
      failed: (error) => this.#fail(error),
    });
  }

  get waiting() {
    return this.#outbox.events + this.#buffer.length;
  }

  // The application-specific data of what is logged from now on.
  get appData() {
    return this.#outbox.items.reduce((data, { change }) => changed(data, change), this.#known);
  }

  start() {
    if (this.#turn && !this.#ending) return this;
    const turn = (this.#turn = {});
    const { consent } = this.#options;
    const objected = objection(this.#options);
    const mine = (call) => () => turn === this.#turn && this.#try(call);
    const begin = () => whenShown(mine(() => this.#begin()));
    const refuse = mine(() => this.#off("no consent"));
    this.#ending = "";
    if (objected) this.#off(objected);
    else if (consent === undefined) begin();
    else {
      this.#show("waiting", "consent");
      Promise.resolve(consent).then((agreed) => (agreed ? begin() : refuse()), refuse);
    }
    return this;
  }

  // Sends what is left and ends the session. `resumable`: start() goes on with it; `discard`: what is left is
  // forgotten.
  stop({ resumable = false, discard = false } = {}) {
    this.#try(() => this.#stop(resumable ? "leavingPage" : "shutdownClient", discard));
  }

  // Logs an event of the page's own; whether it was taken.
  log(type, data) {
    const details = Object(data) === data ? data : { data };
    const event = () => this.#capture("customEvent", plain({ ...details, type: String(type) }), Date.now());
    return this.#try(event) ?? false;
  }

  // Changes the application-specific data of all that is logged from now on, by key; null deletes.
  setData(changes) {
    this.#try(() => this.#change(plain(changes)));
  }

  deleteData(...keys) {
    this.setData(Object.fromEntries(keys.map((key) => [key, null])));
  }

  flush() {
    this.#try(() => this.#flush());
  }

  // --- beginning and ending

  #begin() {
    this.#away = false;
    this.#gather();
    this.session = this.#outbox.session ?? this.session;
    if (!this.#page) this.#listen();
    this.#connect();
  }

  // What earlier pages of the tab left is sent too, each with the data that was in force there. A page that
  // goes may write it a little after the next one has begun.
  #gather() {
    const { gone, found } = this.#outbox.load();
    for (const item of gone) this.#acknowledged(item, "sent by another page");
    if (!found.length) return;
    const own = this.appData;
    if (!this.#welcome && !this.#outbox.items.length) this.#known = JSON.parse(found[0].data);
    for (const item of found) {
      const then = JSON.parse(item.data);
      const now = this.appData;
      if (JSON.stringify(now) !== item.data) this.#outbox.add(this.#item(change(difference(now, then)), true));
      this.#outbox.add(item);
      this.counts.recovered += item.events;
    }
    this.#enqueue(change(own));
  }

  #item(item, derived = false) {
    return { ...item, data: JSON.stringify(this.appData), derived };
  }

  #listen() {
    const { listeners, describe = () => ({}) } = this.#options;
    const stopped = new AbortController();
    const on = (where, type, call) => {
      where.addEventListener(type, (event) => this.#try(() => call(event)), { signal: stopped.signal });
    };
    const tell = (kind, details, time) => {
      const type = TYPES[kind] ?? kind;
      if (!this.#away) this.#capture("interactionEvent", { type, ...details }, time);
    };
    const fail = (error) => this.#fail(error);
    on(window, "pageshow", ({ persisted }) => persisted && this.#begin()); // before anything of it is told
    this.#page = { settle() {}, stop() {} }; // what is told at once counts too
    // What the page says of an element may fail; the event stays.
    const target = (element) => ({ ...idAndTag(element), ...this.#try(() => plain(describe(element))) });
    const page = listen(listeners, { ...this.#options, target, masked: MASKED }, tell, fail);
    this.#page = { settle: page.settle, stop: () => (page.stop(), stopped.abort()) };
    on(document, "visibilitychange", () => document.hidden && this.#hide()); // it may end here, silently
    on(window, "pagehide", () => this.#leave());
    on(window, "online", () => this.#connection.waiting && this.#connect());
  }

  #hide() {
    this.#page.settle();
    this.#flush();
    this.#transmit(true);
  }

  #leave() {
    this.#page.settle();
    this.#away = true;
    this.#flush(true);
    this.#transmit(true);
    this.#drop();
  }

  #stop(word, discard) {
    const begun = this.#page;
    this.#deafen();
    if (discard) {
      const farewell = payload(this.#outbox.instance, ++this.#lastID, []);
      if (this.#welcome && !this.#said) this.#connection.send(leaving(farewell, "shutdownClient"));
      this.#forget();
      this.#buffer = [];
      this.#size = 0;
      this.#ending = "";
      this.#off("discarded");
    } else if (begun) {
      this.#ending = word;
      this.#flush(true);
    } else if (this.#turn && !this.#ending) this.#off("stopped");
  }

  #forget() {
    this.#outbox.load();
    this.#outbox.clear();
    this.session = undefined;
  }

  #deafen() {
    this.#page?.stop();
    this.#page = null;
  }

  #off(why, state = "off") {
    this.#deafen();
    this.#drop();
    this.#flush(); // for the tab's next page
    this.#turn = null;
    this.#show(state, why);
  }

  // --- events

  #capture(eventType, eventDetails, clientDateTime) {
    if (!this.#page) return false;
    const { maxWaiting, bufferCount, flushInterval } = this.#options;
    if (this.waiting >= maxWaiting || this.#outbox.characters > MOST_CHARACTERS) {
      // The oldest stay: a record without its beginning says little.
      if (!this.#gap++) this.#fail(`${this.waiting} events wait for the server; further ones are dropped`);
      this.counts.dropped++;
      return false;
    }
    if (this.#gap) {
      const gap = { type: "dropped", events: this.#gap };
      this.#gap = 0;
      this.#capture("statusEvent", gap, clientDateTime);
    }
    const event = { clientDateTime, eventType, eventDetails };
    const text = JSON.stringify(event);
    if (text.length > LONGEST_EVENT) throw new RangeError(`an event of ${text.length} characters is too long`);
    this.#buffer.push(text);
    this.#size += text.length;
    this.counts.captured++;
    this.#tell("captured", event);
    const full = this.#buffer.length >= Math.min(bufferCount, MOST_EVENTS) || this.#size > LONGEST_PAYLOAD;
    if (full || this.#away) this.#flush();
    else this.#timers.flush ??= this.#later(flushInterval, () => this.#flush());
    return true;
  }

  #flush(always = false) {
    this.#cancel("flush");
    if (!this.#buffer.length && !always) return;
    const [events] = [this.#buffer, (this.#buffer = []), (this.#size = 0)];
    this.#enqueue(payload(this.#outbox.instance, ++this.#lastID, events));
  }

  #change(changes) {
    if (!this.#page) {
      this.#known = changed(this.#known, changes);
      return;
    }
    this.#flush(); // what was captured before keeps the old data
    this.#enqueue(change(changes));
  }

  #enqueue(item) {
    this.#tell("queued", about(this.#outbox.add(this.#item(item))));
    this.#transmit();
  }

  // Sends what is not in flight, in order. A change waits for everything before it, and everything after it for
  // the change: else a retry could give events the wrong data. `now` is for a page that goes away.
  #transmit(now = false) {
    const { items } = this.#outbox;
    if (!this.#connection.ready || this.#said || (!now && (!this.#welcome || this.#holding))) return;
    for (const item of items) {
      if (!now && item.change && item !== items[0]) break;
      if (!item.flying) {
        if (!now && this.#flight.length && this.#connection.congested) break;
        this.#send(item, item === items.at(-1));
      }
      if (!now && item.change) break;
    }
    this.#connection.owe(!this.#welcome || this.#flight.length > 0);
  }

  #send(item, last) {
    const word = this.#ending || (this.#away && "leavingPage");
    this.#said = Boolean(word && last && item.id);
    this.#connection.send(this.#said ? leaving(item, word) : item.text);
    this.#flight.push(item);
    item.flying = true;
    item.sentAt = performance.now();
    if (!item.counted) this.counts.sent += item.events;
    item.counted = true;
  }

  // --- the connection

  #connect() {
    this.#drop();
    this.#show("connecting");
    try {
      this.#connection.open();
    } catch (error) {
      this.#off(error.message, "refused");
    }
  }

  #hello() {
    return JSON.stringify({
      payloadType: "LogUIHandshake",
      clientDateTime: Date.now(),
      appIdentifier: this.#options.token,
      appSpecificLogData: this.#known,
      clientInstance: this.#outbox.instance,
      referrer: document.referrer.replace(/[?#].*/, ""),
      sessionIdentifier: this.session,
    });
  }

  // What was in flight may or may not be stored: the next handshake tells.
  #drop() {
    while (this.#flight.length) this.#land();
    this.#welcome = this.#holding = this.#moving = this.#said = false;
    this.#cancel("retry");
    this.#connection.drop();
  }

  #closed({ code, reason }) {
    const over = this.#ending && this.#said && code === 1000;
    this.#drop();
    if (over) {
      // The server says goodbye when the last payload is stored.
      for (const item of [...this.#outbox.items]) this.#acknowledged(item, "stored");
      if (this.#ending === "shutdownClient") this.#forget();
      this.#turn = null;
      this.#ending = "";
      this.#show("stopped");
      return;
    }
    const retryIn = this.#connection.retry(() => this.#connect());
    const why = code === 1006 ? `1006, ${reason || "no connection"}` : `${code}${reason && ", "}${reason}`;
    this.#show(code < 1002 ? "shutdown" : "closed", why, retryIn);
  }

  // --- what the server says

  #hear(message) {
    const { statusCode, errorDetails: { errorString = "", terminate = false } = {} } = message;
    if (statusCode === "200") this.#welcomed(message);
    else if (statusCode === "201") this.#stored();
    if (["401", "402", "403"].includes(statusCode)) this.#wrong(statusCode, errorString);
    if (statusCode === "400" && TRANSIENT.test(errorString)) return; // it closes, and we come again
    else if (statusCode === "400" || statusCode === "402") this.#off(errorString, "refused");
    else if (statusCode === "500" && !terminate) this.#hold();
    else if (statusCode === "501") this.#move();
    if (this.#connection.ready) this.#rest();
  }

  #welcomed({ sessionIdentifier: id, lastPayloadID }) {
    const { instance, items } = this.#outbox;
    this.#welcome = true;
    this.#connection.succeeded();
    this.session = this.#outbox.session = id;
    this.#show("listening");
    // Of these only the acknowledgement was lost.
    const known = items.filter((item) => item.instance === instance && item.id <= lastPayloadID);
    for (const item of known) this.#acknowledged(item, "stored");
    this.#gather();
    this.#transmit();
  }

  // An answer is to the first that was sent.
  #land() {
    const item = this.#flight.shift();
    if (item) item.flying = false;
    return item;
  }

  #stored() {
    const item = this.#land();
    this.#unstored = 0;
    if (item) this.#acknowledged(item, `${(performance.now() - item.sentAt).toFixed(1)} ms`);
  }

  #acknowledged(item, how) {
    if (!this.#outbox.replace(item)) return; // it was in flight when the handshake told
    this.counts.acknowledged += item.events;
    if (item.change) this.#known = changed(this.#known, item.change);
    this.#tell("acknowledged", { ...about(item), how });
  }

  // One bad event must not cost the others: they go again. Under an instance of their own, for which later ids
  // do not matter; always the same one, should another tab do this too.
  #wrong(status, why) {
    const item = this.#land();
    if (!item) return;
    const position = status === "403" && /\[(\d+)\]/.exec(why)?.[1];
    const events = (position && JSON.parse(item.text).eventsToBeLogged) || [];
    const bad = events.splice(position, 1);
    const texts = events.map((event) => JSON.stringify(event));
    const rest = payload(`${item.instance}-${item.id}`, 1, texts);
    this.#outbox.replace(item, ...(texts.length ? [{ ...rest, counted: true }] : []));
    this.counts.refused += item.events - texts.length;
    this.#fail(why, { ...about(item), status, event: bad[0] });
  }

  #hold() {
    this.#land();
    this.#said = false;
    if (!this.#holding) this.#show("listening", "the server cannot store at the moment");
    this.#holding = true;
  }

  #move() {
    this.#moving = true;
    this.#show("shutdown", "the server shuts down");
    this.#flush();
  }

  // Payloads after one that could not be stored are answered with 500 too. All go again, in order, when the last
  // answer is there: sooner, a later one could be stored first, and the earlier one look like a repeat.
  // A server that shuts down is left when nothing is owed, for it may wait for us, and another may take over.
  #rest() {
    this.#transmit();
    this.#connection.owe(this.#flight.length > 0);
    if (this.#flight.length) return;
    if (this.#moving && !this.waiting) this.#connection.close();
    else if (this.#ending && this.#welcome && !this.#said && !this.#outbox.items.length) this.#flush(true);
    if (!this.#holding || this.#timers.retry) return;
    const pause = Math.min(RETRY.longest, RETRY.first * 2 ** this.#unstored++);
    this.#timers.retry = this.#later(pause, () => {
      this.#cancel("retry");
      this.#holding = false;
      this.#show("listening");
      this.#transmit();
    });
  }

  // --- small things

  #show(state, detail = "", retryIn = undefined) {
    this.state = state;
    this.#tell("state", { state, detail, retryIn });
  }

  #fail(error, details = {}) {
    this.#tell("error", { message: String(error?.message ?? error), ...details });
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
      return undefined;
    }
  }

  #later(pause, call) {
    return setTimeout(() => this.#try(call), pause);
  }

  #cancel(name) {
    clearTimeout(this.#timers[name]);
    delete this.#timers[name];
  }
}

export function start(options) {
  return new LogUI(options).start();
}
