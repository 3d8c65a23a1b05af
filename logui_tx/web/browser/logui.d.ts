/** What can be listened to on a page. */
export type Listener =
  | "mouseclick" | "mousemove" | "scroll" | "keyboard" | "focus" | "resize" | "navigation" | "submit";

export type Data = Record<string, unknown>;

export interface Options {
  /** The flight's token. */
  token: string;
  /** Where to log; relative to the server from which the client came. http: stands for ws:. */
  endpoint?: string | URL;
  /** Application-specific data: what every event is logged with. */
  appData?: Data;
  /** What to listen to; default: everything. */
  listeners?: Listener[];
  /** Milliseconds between two moves of the pointer; 0 for every one. */
  sampling?: number;
  /** Events after which they are sent; at most 5,000. */
  bufferCount?: number;
  /** Milliseconds after which they are sent. */
  flushInterval?: number;
  /** Events that may wait for the server; what comes then is dropped and counted. */
  maxWaiting?: number;
  /** Nothing is captured, stored or sent before it resolves to something true; if it does not, nothing ever;
   *  default: true. */
  consent?: boolean | PromiseLike<unknown>;
  /** Log nothing where the browser says so; default: false. */
  respectDoNotTrack?: boolean;
  /** Log nothing where the browser says so; default: false. */
  respectGlobalPrivacyControl?: boolean;
}

export type State =
  | "off" | "waiting" | "connecting" | "listening" | "closed" | "shutdown" | "refused" | "stopped";

export interface Counts {
  /** By this page. */
  captured: number;
  /** Left by earlier pages of the tab. */
  recovered: number;
  /** At least once. */
  sent: number;
  /** On the server's disk. */
  acknowledged: number;
  /** By the server, for good. */
  refused: number;
  /** For want of room. */
  dropped: number;
}

/** A payload, or a change of application-specific data. */
export interface Item {
  instance?: string;
  id?: number;
  events: number;
  changes?: Data;
}

export interface Events {
  state: CustomEvent<{ state: State; detail: string; retryIn?: number }>;
  captured: CustomEvent<{ clientDateTime: number; eventType: string; eventDetails: Data }>;
  queued: CustomEvent<Item>;
  acknowledged: CustomEvent<Item & { sentAt?: number }>;
  error: CustomEvent<{ message: string; event?: unknown } & Partial<Item>>;
}

export class LogUI extends EventTarget {
  constructor(options?: Partial<Options>);
  readonly state: State;
  readonly counts: Counts;
  /** Events that are captured and not acknowledged. */
  readonly waiting: number;
  /** The session's identifier, once the server has given one. */
  readonly session: string | undefined;
  /** The application-specific data of what is logged from now on. */
  readonly appData: Data;
  /** Begins, or goes on after stop(); `options` override the constructor's. */
  start(options?: Partial<Options>): this;
  /** Sends what is left and ends the session; `resumable`: start() goes on with it; `discard`: forgets the rest. */
  stop(how?: { resumable?: boolean; discard?: boolean }): void;
  /** Logs an event of the page's own; whether it was taken. */
  log(type: string, data?: Data): boolean;
  /** Changes application-specific data by key, for all that is logged from now on; null deletes. */
  setData(changes: Data): void;
  deleteData(...keys: string[]): void;
  /** Sends what is captured now. */
  flush(): void;
  addEventListener<K extends keyof Events>(
    type: K, listener: (event: Events[K]) => void, options?: boolean | AddEventListenerOptions,
  ): void;
}

/** A client that has been started. */
export function start(options: Options): LogUI;
