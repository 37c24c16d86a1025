import { setTimeout as delay } from 'node:timers/promises';

/** Far longer than a server takes to hear of its successor, once they are connected again. */
const STALE_MS = 10_000;
const AGAIN_MS = 250;

export interface Told<T> {
  readonly told: T;
  /** Still older than what was known when it was asked for, however often: what it lacks is lost. */
  readonly isOlder: boolean;
}

/**
 * Reads until what is read is not older than what was known when it was asked for; what is heard while the answer is on
 * its way says nothing against it. A server that stood still or was cut off answers as the leader that it was, from where
 * it stood, until it hears of its successor; and of two answers the first counts.
 */
export async function notOlder<T, K>(
  read: () => Promise<T>,
  known: () => K,
  isOlder: (told: T, known: K) => boolean,
  staleMs = STALE_MS,
): Promise<Told<T>> {
  const end = performance.now() + staleMs;
  for (;;) {
    const before = known();
    const told = await read();
    if (!isOlder(told, before)) return { told, isOlder: false };
    if (performance.now() > end) return { told, isOlder: true };
    await delay(AGAIN_MS);
  }
}
