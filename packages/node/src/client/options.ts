export interface SpillConnectOptions {
  /** `nats://host:port`, or several; with `user:password@` or `token@` before the host where the server asks for it. */
  readonly servers: string | string[];
  /** Shown in the server's list of connections. */
  readonly name?: string;
  /** Of the cluster's subjects; `spill` by default. */
  readonly prefix?: string;
  /**
   * `shards`: straight to the shards, which the NATS user must be allowed to read the topology and publish for.
   * `router`: through a router. `auto` (the default): to the shards where that is possible, else through a router.
   */
  readonly via?: 'auto' | 'router' | 'shards';
  /** How long a call waits at most, milliseconds; 5,000 by default. */
  readonly deadlineMs?: number;
}

export interface CallOptions {
  /** How long this call waits at most, milliseconds. */
  readonly deadlineMs?: number;
}

export const DEADLINE_MS_DEFAULT = 5_000;
