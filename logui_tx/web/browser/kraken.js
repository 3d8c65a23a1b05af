// The browser client of DataKraken. See docs/clients.md for its use and docs/protocol.md for what is said.
//
// Events stream to the socket as they happen, while it is open. Nothing is kept and nothing is sent again: what
// was not acknowledged when the connection ends may be stored or not.

import { LISTENERS, listen, named, objection, referrer, whenShown, wire } from "./listeners.js";

export const SOCKET_EVENT = Object.freeze({ INIT: "INIT", LISTEN: "LISTEN", READY: "READY", CLOSING: "CLOSING" });

const OPTIONS = {
  // At the server from which this file came.
  url: new URL("/kraken/init", import.meta.url),
  token: "",
  respectDoNotTrack: false,
  respectGlobalPrivacyControl: false,
};
const CUSTOM = 9;
// Characters.
const LONGEST_TARGET = 200;
// Bytes not sent yet, past which events are dropped.
const MOST_BUFFERED = 1_000_000;
// Milliseconds before its end at which a ticket is not used any more.
const MARGIN = 2_000;

export class DataKraken extends EventTarget {
  static SOCKET_EVENT = SOCKET_EVENT;
  CONN_STATE = SOCKET_EVENT.INIT;
  // Of the flight: application, flight, listeners, sampling, metadata.
  meta = null;
  counts = { captured: 0, sent: 0, stored: 0, dropped: 0 };
  #options;
  // A promise of { endpoint, ticket, until }.
  #ticket = null;
  // What older ones say is ignored.
  #socket = null;
  // What Listen() promised last.
  #listening = null;
  // Listens, while events are captured.
  #page = null;
  // Events stored on earlier connections.
  #before = 0;
  // Events sent on this one.
  #said = 0;
  // When the pointer last moved.
  #moved = 0;

  constructor(options) {
    super();
    this.#options = { ...OPTIONS, ...options };
    const objected = objection(this.#options);
    if (objected) this.#fail(objected, { code: "objection" });
    else this.#ticket = this.#init().catch((error) => void this.#fail(error));
    // A page that the browser keeps to come back to goes on then.
    let paused = false;
    window.addEventListener("pagehide", () => {
      paused = this.#active();
      this.Close();
    });
    window.addEventListener("pageshow", () => paused && this.Listen());
  }

  // Events that were sent on this connection and are not acknowledged.
  get waiting() {
    return this.CONN_STATE === SOCKET_EVENT.READY ? this.#said - (this.counts.stored - this.#before) : 0;
  }

  // Opens the connection; resolves to whether events are logged now. A ticket is good for one try, and for its
  // time only: another is had where it is needed.
  async Listen() {
    if (this.#active()) return this.#listening;
    if (objection(this.#options)) return false;
    this.#show(SOCKET_EVENT.LISTEN);
    this.#listening = this.#listen().catch((error) => {
      this.#fail(error);
      this.#close();
      return false;
    });
    return this.#listening;
  }

  // Ends the session.
  Close() {
    try {
      if (!this.#active()) return;
      this.#page?.settle();
      if (this.CONN_STATE === SOCKET_EVENT.READY) this.#socket.send('{"type":"close"}');
      this.#close();
    } catch (error) {
      this.#fail(error);
    }
  }

  // Logs an event of the page's own; whether it was taken.
  Log(name, data = {}) {
    try {
      return this.#allows("custom") && this.#send(CUSTOM, named(data, { name: String(name) }));
    } catch (error) {
      this.#fail(error);
      return false;
    }
  }

  // --- ticket and socket

  async #init() {
    await new Promise((shown) => void whenShown(shown));
    const { url, token } = this.#options;
    const answer = await fetch(url, {
      method: "POST",
      credentials: "include",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ token }),
    });
    const said = await answer.json();
    if (!answer.ok) throw new Error(said.error);
    this.meta = said.meta;
    this.#tell("init", said.meta);
    // A proxy that does not say so makes the server believe that it is not asked by https.
    const safe = new URL(url, location.href).protocol === "https:";
    const endpoint = safe ? said.endpoint.replace(/^ws:/, "wss:") : said.endpoint;
    return { endpoint, ticket: said.ticket, until: performance.now() + said.ttl * 1000 - MARGIN };
  }

  async #listen() {
    let ticket = await this.#ticket;
    if (!ticket || performance.now() > ticket.until) ticket = await this.#init();
    this.#ticket = null;
    // Closed meanwhile.
    if (this.CONN_STATE !== SOCKET_EVENT.LISTEN) return false;
    const socket = new WebSocket(`${ticket.endpoint}?ticket=${encodeURIComponent(ticket.ticket)}`);
    this.#socket = socket;
    return new Promise((ready) => {
      const mine = (call) => (event) => {
        try {
          if (socket === this.#socket) call(event);
        } catch (error) {
          this.#fail(error);
        }
      };
      socket.onopen = mine(() => {
        this.#before = this.counts.stored;
        this.#said = 0;
        socket.send(JSON.stringify({ type: "start", meta: { device: device(), referrer: referrer() } }));
        this.#show(SOCKET_EVENT.READY);
        this.#attach();
        ready(true);
      });
      socket.onmessage = mine(({ data }) => this.#hear(JSON.parse(data)));
      socket.onerror = mine(() => this.#fail("the connection failed"));
      socket.onclose = mine((event) => {
        this.#close(event);
        ready(false);
      });
    });
  }

  #attach() {
    const { listeners, sampling } = this.meta;
    const names = LISTENERS.filter((name) => listeners.includes(name));
    // They are in the order of the wire's numbers.
    const tell = (kind, details, time) => {
      this.#send(LISTENERS.indexOf(kind), this.#described(kind, details), time);
    };
    const describe = (element, masked) => (masked ? "" : target(element));
    this.#moved = performance.now();
    this.#page = {};
    listen(this.#page, names, sampling, describe, tell, (error) => this.#fail(error));
  }

  // With the names of the wire.
  #described(kind, { x: X, y: Y, ...more }) {
    if (kind !== "mousemove") return X === undefined ? more : { X, Y, ...more };
    const since = this.#moved;
    this.#moved = performance.now();
    return { X, Y, ellapsed: Math.round(this.#moved - since) };
  }

  #active() {
    return [SOCKET_EVENT.LISTEN, SOCKET_EVENT.READY].includes(this.CONN_STATE);
  }

  #allows(name) {
    return this.CONN_STATE === SOCKET_EVENT.READY && this.meta.listeners.includes(name);
  }

  #send(type, event, timestamp = Date.now()) {
    if (this.CONN_STATE !== SOCKET_EVENT.READY || this.#socket.readyState !== 1) return false;
    const text = wire({ type, timestamp, event });
    this.counts.captured++;
    if (this.#socket.bufferedAmount > MOST_BUFFERED) {
      if (!this.counts.dropped++) this.#fail("the network is too slow; events are dropped");
      return false;
    }
    this.#socket.send(text);
    this.counts.sent++;
    this.#said++;
    this.#tell("captured", { type, timestamp, event });
    return true;
  }

  #hear({ type, stored, code, message, position }) {
    if (type === "ack") {
      // The server counts by session.
      this.counts.stored = this.#before + stored;
      this.#tell("acknowledged", { stored });
    } else if (type === "error") this.#fail(message, { code, position });
    else if (type === "shutdown") {
      this.#tell("shutdown");
      // What was sent is still stored; a session does not outlive its connection.
      this.Close();
    }
  }

  #close({ code, reason } = {}) {
    const socket = this.#socket;
    this.#socket = null;
    this.#page?.stop();
    this.#page = null;
    this.#show(SOCKET_EVENT.CLOSING, { code, reason });
    socket?.close(1000);
  }

  // --- small things

  #show(state, detail = {}) {
    this.CONN_STATE = state;
    this.#tell("state", { state, ...detail });
  }

  #fail(error, details = {}) {
    this.#tell("error", { message: String(error?.message ?? error), ...details });
  }

  // Not at once: who makes a client can listen first, and nobody is called in the middle of something.
  #tell(type, detail) {
    queueMicrotask(() => this.dispatchEvent(new CustomEvent(type, { detail })));
  }
}

// As a selector: the id, or else the classes, or else the name.
function target({ id, classList = [], name }) {
  const found = [id && `#${id}`, classList.length && `.${[...classList].join(".")}`, name && `[name=${name}]`];
  return String(found.find(Boolean) ?? "").slice(0, LONGEST_TARGET);
}

function device() {
  const { userAgentData, userAgent, platform } = navigator;
  const known = /Edg|OPR|Firefox|Chrome|Safari/.exec(userAgent)?.[0];
  const browser = { Edg: "Edge", OPR: "Opera" }[known] ?? known;
  const os = /Android|iPhone|iPad|Windows|Macintosh|CrOS|Linux/.exec(userAgent)?.[0];
  return { os: os ?? userAgentData?.platform ?? platform, browser };
}
