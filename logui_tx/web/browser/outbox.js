// What waits for the server's acknowledgement, in order; a copy in sessionStorage lets the tab's next page send
// it. An item is a payload { n, instance, id, events, text, data } or a change of data { n, instance, change,
// text, data }; `text` is the message for the wire, `data` the application-specific data before it, as JSON.
// Ids and texts never change, so that one sent twice is stored once.

const MOST_KEPT = 2_000_000; // characters in sessionStorage, of the about 5 million that browsers give an origin
const living = new Set(); // the instances of this very page: what they keep is theirs

export class Outbox {
  items = [];
  events = 0; // in all items
  characters = 0;
  #storage = null;
  #prefix;
  #last = 0;

  constructor(name, instance) {
    this.#prefix = `logui ${name} `;
    this.instance = instance;
    living.add(instance);
  }

  // Look at the storage, where the pages of a tab meet; before the first time it is not touched. Returns
  // { gone, found }: the items of ours that another page has sent, and what others left.
  load() {
    try {
      this.#storage = sessionStorage; // throws where a frame may have none
      const keys = Object.keys(this.#storage).filter((key) => key.startsWith(this.#prefix));
      const ours = new Set(this.items.map((item) => this.#key(item)));
      const found = keys.filter((key) => !ours.has(key)).map((key) => this.#read(key));
      return {
        gone: this.items.filter((item) => item.kept && !keys.includes(this.#key(item))),
        found: found.filter(Boolean).sort((a, b) => a.n - b.n),
      };
    } catch {
      return { gone: [], found: [] };
    }
  }

  #key({ n, instance }) {
    return `${this.#prefix}${n} ${instance}`;
  }

  #read(key) {
    const [n, instance] = key.slice(this.#prefix.length).split(" ");
    if (!(n > 0) || living.has(instance)) return null;
    try {
      const value = this.#storage.getItem(key);
      const [data] = value.split("\n", 1);
      const text = value.slice(data.length + 1);
      const { payloadID: id, eventsToBeLogged, appSpecificLogData: change } = JSON.parse(text);
      return { n: Number(n), instance, id, events: eventsToBeLogged?.length ?? 0, change, text, data, kept: true };
    } catch {
      return null; // not ours, whatever it is
    }
  }

  add(item) {
    const added = { n: this.#last + 1, instance: this.instance, ...item };
    this.#last = Math.max(this.#last, added.n);
    this.items.push(added);
    this.#keep();
    return added;
  }

  // It goes, and others take its place; whether it was there.
  replace(item, ...others) {
    const at = this.items.indexOf(item);
    if (at < 0) return false;
    const { n, data } = item;
    this.items.splice(at, 1, ...others.map((other) => ({ n, data, ...other })));
    if (item.kept) this.#try((storage) => storage.removeItem(this.#key(item)));
    this.#keep();
    return true;
  }

  // Never a later one without the ones before: the server would take those for repeats.
  #keep() {
    this.events = this.items.reduce((sum, { events }) => sum + events, 0);
    this.characters = this.items.reduce((sum, { text, data }) => sum + text.length + data.length, 0);
    let room = MOST_KEPT;
    for (const item of this.items) {
      const { derived, events, change } = item;
      if (derived || !(events || change)) continue; // a later page does without
      const value = `${item.data}\n${item.text}`;
      room -= value.length;
      item.kept ||= room >= 0 && this.#try((storage) => storage.setItem(this.#key(item), value));
      if (!item.kept) return;
    }
  }

  #try(call) {
    try {
      call(this.#storage);
      return true;
    } catch {
      return false; // no storage, or it is full
    }
  }

  // The session's identifier, as a page of the tab has noted it last.
  get session() {
    try {
      return this.#storage.getItem(`${this.#prefix}session`) ?? undefined;
    } catch {
      return undefined;
    }
  }

  set session(id) {
    this.#try((storage) => storage.setItem(`${this.#prefix}session`, id));
  }

  clear() {
    for (const item of [...this.items]) this.replace(item);
    this.#try((storage) => {
      for (const key of Object.keys(storage)) if (key.startsWith(this.#prefix)) storage.removeItem(key);
    });
  }
}

export function payload(instance, id, events) {
  const start = `{"payloadType":"LogUIEventPayload","clientInstance":"${instance}","payloadID":${id}`;
  return { instance, id, events: events.length, text: `${start},"eventsToBeLogged":[${events.join()}]}` };
}

// As the last one of its connection. The copy for a later page does without the word.
export function leaving({ text }, word) {
  return `${text.slice(0, -1)},"session":"${word}"}`;
}

export function change(changes) {
  const text = JSON.stringify({ payloadType: "LogUIAppSpecificLogDataChange", appSpecificLogData: changes });
  return { change: changes, events: 0, text };
}

// The data after the changes; null deletes.
export function changed(data, changes = {}) {
  return Object.fromEntries(Object.entries({ ...data, ...changes }).filter(([, value]) => value !== null));
}

// The changes that make one the other.
export function difference(data, wanted) {
  return { ...Object.fromEntries(Object.keys(data).map((key) => [key, null])), ...wanted };
}

// What the page is told of an item.
export function about({ instance, id, events, change: changes }) {
  return { instance, id, events, change: changes };
}
