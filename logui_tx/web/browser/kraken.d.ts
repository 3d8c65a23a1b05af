export declare const SOCKET_EVENT: Readonly<{ INIT: "INIT"; LISTEN: "LISTEN"; READY: "READY"; CLOSING: "CLOSING" }>;

export type ConnState = keyof typeof SOCKET_EVENT;

export type Data = Record<string, unknown>;

export interface Options {
  /** The flight's token. */
  token: string;
  /** Where a ticket is had; default: at the server from which the client came. */
  url?: string | URL;
  /** Log nothing where the browser says so; default: false. */
  respectDoNotTrack?: boolean;
  /** Log nothing where the browser says so; default: false. */
  respectGlobalPrivacyControl?: boolean;
}

/** What the server says of the flight. */
export interface Meta {
  application: string;
  flight: string;
  listeners: string[];
  /** Milliseconds between two events of a listener. */
  sampling: Record<string, number>;
  /** The flight's own. */
  metadata: Data;
}

export interface Counts {
  captured: number;
  sent: number;
  /** On the server's disk, as far as it was heard. */
  stored: number;
  /** Because the network was too slow. */
  dropped: number;
}

export interface Events {
  state: CustomEvent<{ state: ConnState; code?: number; reason?: string }>;
  init: CustomEvent<Meta>;
  captured: CustomEvent<{ type: number; timestamp: number; event: Data }>;
  acknowledged: CustomEvent<{ stored: number }>;
  error: CustomEvent<{ message: string; code?: number | string; position?: number }>;
  shutdown: CustomEvent<undefined>;
}

export class DataKraken extends EventTarget {
  static readonly SOCKET_EVENT: typeof SOCKET_EVENT;
  /** Asks for a ticket at once. */
  constructor(options: Options);
  readonly CONN_STATE: ConnState;
  /** Null until the server has answered. */
  readonly meta: Meta | null;
  readonly counts: Counts;
  /** Events sent on this connection and not acknowledged. */
  readonly waiting: number;
  /** Opens the connection; resolves to whether events are logged now. Never rejects. */
  Listen(): Promise<boolean>;
  /** Ends the session. */
  Close(): void;
  /** Logs an event of the page's own; whether it was taken. */
  Log(name: string, data?: Data): boolean;
  addEventListener<K extends keyof Events>(
    type: K, listener: (event: Events[K]) => void, options?: boolean | AddEventListenerOptions,
  ): void;
}
