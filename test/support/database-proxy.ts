import { once } from 'node:events';
import { connect, createServer, type NetConnectOpts, type Socket } from 'node:net';

export interface DatabaseProxy {
  readonly port: number;
  /**
   * From the next message to the server that contains `text` on: `answer` lets it through and cuts the connection when
   * the server answers, in place of the answer; `request` cuts without letting it through. Once.
   */
  cutAt(text: string, what: 'request' | 'answer'): void;
  /** Swallows everything, both ways, on existing and new connections, without closing one; until `pass`. */
  blackHole(): void;
  pass(): void;
  /** Cuts all connections now. */
  cut(): void;
  stop(): Promise<void>;
}

/** Stands between a client and a server, and loses what a network may lose. */
export async function startDatabaseProxy(target: NetConnectOpts): Promise<DatabaseProxy> {
  const pairs = new Set<readonly [Socket, Socket]>();
  let trap: { text: string; what: 'request' | 'answer' } | null = null;
  let swallow = false;

  const server = createServer((client) => {
    const upstream = connect(target);
    const pair = [client, upstream] as const;
    let cutAtAnswer = false;
    pairs.add(pair);
    const destroy = () => {
      pairs.delete(pair);
      client.destroy();
      upstream.destroy();
    };
    client.on('data', (data) => {
      if (swallow) return;
      if (trap !== null && data.includes(trap.text)) {
        const { what } = trap;
        trap = null;
        if (what === 'request') return destroy();
        cutAtAnswer = true;
      }
      upstream.write(data);
    });
    upstream.on('data', (data) => {
      if (swallow) return;
      if (cutAtAnswer) return destroy();
      client.write(data);
    });
    for (const socket of pair) {
      // The other end learns of it by the close that follows.
      socket.on('error', destroy);
      socket.on('close', destroy);
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');

  const cut = () => {
    for (const [client, upstream] of pairs) {
      client.destroy();
      upstream.destroy();
    }
  };
  return {
    port: (server.address() as { port: number }).port,
    cutAt(text, what) {
      trap = { text, what };
    },
    blackHole() {
      swallow = true;
    },
    pass() {
      swallow = false;
    },
    cut,
    async stop() {
      cut();
      server.close();
      await once(server, 'close');
    },
  };
}
