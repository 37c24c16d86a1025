import { Latencies } from './latencies.js';
import type { Measured } from './rounds.js';

/**
 * Sends `requests` in order, `inFlight` of them at once, and resolves when the last one is answered. Everything is built
 * before the clock starts, and what that left is collected; `rows` is how many transactions a request holds.
 */
export async function closedLoop<T>(
  requests: readonly T[],
  rows: number,
  inFlight: number,
  send: (request: T) => Promise<unknown>,
): Promise<Measured> {
  const latencies = new Latencies();
  let next = 0;
  const worker = async (): Promise<void> => {
    while (next < requests.length) {
      const request = requests[next++] as T;
      const sent = performance.now();
      await send(request);
      latencies.record(performance.now() - sent);
    }
  };
  globalThis.gc?.();
  const started = performance.now();
  await Promise.all(Array.from({ length: inFlight }, worker));
  const seconds = (performance.now() - started) / 1_000;
  return { value: (requests.length * rows) / seconds, p50Ms: latencies.at(50), p99Ms: latencies.at(99) };
}

/** Keeps `inFlight` calls of `send` under way for some seconds; counts those that ended within them. */
export async function forSeconds(
  seconds: number,
  inFlight: number,
  send: () => Promise<unknown>,
): Promise<Measured & { readonly sent: number }> {
  const latencies = new Latencies();
  const started = performance.now();
  const end = started + seconds * 1_000;
  let sent = 0;
  let ended = 0;
  const worker = async (): Promise<void> => {
    for (let from = performance.now(); from < end; from = performance.now()) {
      sent += 1;
      await send();
      const now = performance.now();
      if (now > end) return;
      ended += 1;
      latencies.record(now - from);
    }
  };
  await Promise.all(Array.from({ length: inFlight }, worker));
  return { value: ended / seconds, p50Ms: latencies.at(50), p99Ms: latencies.at(99), sent };
}
