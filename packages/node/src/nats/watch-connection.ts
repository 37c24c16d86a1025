import type { NatsConnection } from 'nats';

export interface ConnectionWatch {
  /** Whether the connection is down at this moment, as far as the client has noticed. */
  readonly away: boolean;
}

/** Follows a connection that reconnects by itself. `onChange` is told each time it goes and comes back. */
export function watchConnection(nc: NatsConnection, onChange: (away: boolean) => void): ConnectionWatch {
  const watch = { away: false };
  const set = (away: boolean): void => {
    if (watch.away === away) return;
    watch.away = away;
    onChange(away);
  };
  (async () => {
    for await (const status of nc.status()) {
      if (status.type === 'disconnect') set(true);
      else if (status.type === 'reconnect') set(false);
    }
  })().catch(() => set(true));
  return watch;
}
