import { setTimeout as delay } from 'node:timers/promises';
import { NatsError } from 'nats';
import { isNatsAway } from './nats-away.js';

/** A stream found too few servers, among those that JetStream's leader knows of, for its copies. */
const NO_SUITABLE_PEERS = 10_005;
const WAIT_MS = 30_000;
const TRY_AGAIN_MS = 250;

/**
 * Makes or opens a stream, a bucket or a watch in a cluster whose servers have only just met, or just lost one: a leader
 * may still be elected, a server that is connected may not be known to it yet, and one that is gone may still be chosen.
 * Tries again for 30 s; `make` must be safe to repeat.
 */
export async function oncePlaced<T>(make: () => Promise<T>): Promise<T> {
  const end = performance.now() + WAIT_MS;
  for (;;) {
    try {
      return await make();
    } catch (error) {
      const code = error instanceof NatsError ? error.api_error?.err_code : undefined;
      if ((code !== NO_SUITABLE_PEERS && !isNatsAway(error)) || performance.now() > end) throw error;
    }
    await delay(TRY_AGAIN_MS);
  }
}
