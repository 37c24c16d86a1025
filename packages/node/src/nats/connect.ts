import { connect, type NatsConnection } from 'nats';
import { urlLogin } from './url-login.js';

export type { NatsConnection } from 'nats';

export interface ConnectOptions {
  /** `nats://host:port`, with `user:password@` or `token@` before the host where the server asks for it. */
  readonly servers: string | string[];
  /** Shown in the server's connection list. */
  readonly name: string;
  /**
   * Whether the client reconnects by itself. The connection that writes a log must not: what was buffered while it was
   * away could be stored after its writer gave up on it.
   */
  readonly reconnect: boolean;
  readonly timeoutMs?: number;
  /** The servers are tried as they are listed, this machine's own first; else in any order, which spreads clients. */
  readonly inOrder?: boolean;
}

/** Connects to NATS. @throws NatsError where no server answers. */
export function connectNats(options: ConnectOptions): Promise<NatsConnection> {
  return connect({
    ...urlLogin(options.servers),
    name: options.name,
    reconnect: options.reconnect,
    noRandomize: options.inOrder ?? false,
    maxReconnectAttempts: -1,
    reconnectTimeWait: 100,
    reconnectJitter: 100,
    timeout: options.timeoutMs ?? 5_000,
    pingInterval: 5_000,
    maxPingOut: 2,
    // A stack trace for each request costs more than the rest of a small one.
    noAsyncTraces: true,
  });
}
