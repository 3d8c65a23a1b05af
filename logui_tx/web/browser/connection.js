// A WebSocket that can be lost and come back: the back-off, and a watch over one that is dead without a word.

const BACK_OFF = { first: 500, longest: 15_000 }; // ms
const ANSWER_WITHIN = 30_000; // ms
const MOST_BUFFERED = 1_000_000; // bytes that the browser has not sent yet

export class Connection {
  #address;
  #on;
  #socket = null; // what older ones say is ignored
  #failures = 0; // attempts since the last success
  #next = 0; // the timer of the next attempt
  #watch = 0;

  // `on` has opened(), heard(message) and closed({ code, reason }); what they throw goes to on.failed(error).
  constructor(address, on) {
    this.#address = address;
    this.#on = on;
  }

  get ready() {
    return this.#socket?.readyState === 1;
  }

  get congested() {
    return this.#socket.bufferedAmount > MOST_BUFFERED;
  }

  get waiting() {
    return this.#next !== 0;
  }

  // Throws where the address is wrong or the page may not use it.
  open() {
    this.drop();
    const socket = new WebSocket(new URL(this.#address, import.meta.url).href.replace(/^http/, "ws"));
    const hear = (call) => (event) => {
      if (socket === this.#socket) this.#guarded(() => call(event));
    };
    socket.onopen = hear(() => this.#on.opened());
    socket.onmessage = hear(({ data }) => {
      this.owe(false);
      this.#on.heard(JSON.parse(data));
    });
    socket.onclose = hear((event) => this.#on.closed(event));
    this.#socket = socket;
    this.owe(true);
  }

  send(text) {
    this.#socket.send(text);
  }

  // Says goodbye; closed() is still called.
  close() {
    this.#socket.close(1000);
  }

  // Nothing is heard of it any more.
  drop() {
    const socket = this.#socket;
    this.#socket = null;
    this.owe(false);
    clearTimeout(this.#next);
    this.#next = 0;
    socket?.close(1000);
  }

  // Whether the server owes an answer: then silence means that the connection is lost.
  owe(owed) {
    if (owed) this.#watch ||= setTimeout(() => this.#silent(), ANSWER_WITHIN);
    else this.#watch = clearTimeout(this.#watch);
  }

  #silent() {
    this.#watch = 0;
    this.#guarded(() => this.#on.closed({ code: 1006, reason: "no answer" }));
  }

  succeeded() {
    this.#failures = 0;
  }

  // Try again later; the pause in ms. Doubling and jitter: pages that lost the same server must not all come
  // back at once.
  retry(again) {
    const most = Math.min(BACK_OFF.longest, BACK_OFF.first * 2 ** this.#failures++);
    const pause = most * (0.5 + Math.random() / 2);
    this.#next = setTimeout(() => this.#guarded(again), pause);
    return pause;
  }

  #guarded(call) {
    try {
      call();
    } catch (error) {
      this.#on.failed(error);
    }
  }
}
