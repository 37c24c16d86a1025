import { fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { connect } from 'nats';
import { forSeconds } from '../support/closed-loop.js';
import type { Peer } from './peer.js';

const JETSTREAM_SCRIPT = fileURLToPath(new URL('../jetstream.mjs', import.meta.url));
const SUBJECT = 'bench.echo';
const BYTES = 60;
const SECONDS = 1.5;

/** A process that sends every request back: what request and reply cost at least. Nothing is durable. */
export async function natsEchoPeer(natsUrl: string): Promise<Peer> {
  const echo = fork(JETSTREAM_SCRIPT, ['--echo', natsUrl]);
  await once(echo, 'message');
  const nc = await connect({ servers: natsUrl });
  const body = Buffer.alloc(BYTES, 'spill bench body, the same each time. ');
  return {
    peer: 'NATS echo',
    what: `a bare NATS request of ${BYTES} bytes and its reply, 64 in flight; nothing is stored`,
    missing: null,
    measure: () => forSeconds(SECONDS, 64, () => nc.request(SUBJECT, body, { timeout: 10_000 })),
    close: async () => {
      await nc.close();
      echo.kill();
      await once(echo, 'exit');
    },
  };
}
