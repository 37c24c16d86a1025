import { setTimeout as delay } from 'node:timers/promises';
import { Latencies } from './latencies.js';

export interface OpenLoop {
  readonly perSecond: number;
  readonly seconds: number;
  /** Not measured. */
  readonly warmUpSeconds: number;
  /** How many are sent in one call at most. */
  readonly groupMax: number;
  /** Sends `count` of them at once. Whatever resolves to false was answered, but is no latency to count. */
  readonly send: (count: number) => Promise<boolean>;
}

export interface OpenLoopResult {
  readonly latencies: Latencies;
  readonly sent: number;
  /** How late the generator itself sent at the worst, milliseconds; part of the latencies. */
  readonly lateMsMax: number;
}

/**
 * Sends at a fixed rate, whether answers come or not, and takes each latency from the moment at which it was due: a pause
 * of whatever kind, the generator's own included, counts for all that was due in it.
 */
export async function openLoop(loop: OpenLoop): Promise<OpenLoopResult> {
  const { perSecond, seconds, warmUpSeconds, groupMax, send } = loop;
  const latencies = new Latencies();
  const total = Math.floor(perSecond * (seconds + warmUpSeconds));
  const unmeasured = Math.floor(perSecond * warmUpSeconds);
  const started = performance.now();
  const dueAt = (place: number): number => started + (place / perSecond) * 1_000;
  const underWay = new Set<Promise<void>>();
  let sent = 0;
  let lateMsMax = 0;
  let failure: { readonly error: unknown } | null = null;

  const sendGroup = async (from: number, to: number): Promise<void> => {
    const counts = await send(to - from);
    const answered = performance.now();
    if (!counts) return;
    for (let place = Math.max(from, unmeasured); place < to; place++) latencies.record(answered - dueAt(place));
  };

  while (sent < total && !failure) {
    const now = performance.now();
    const due = Math.min(total, Math.floor(((now - started) / 1_000) * perSecond));
    if (sent >= unmeasured && sent < due) lateMsMax = Math.max(lateMsMax, now - dueAt(sent));
    while (sent < due) {
      const to = Math.min(due, sent + groupMax);
      const group = sendGroup(sent, to)
        .catch((error: unknown) => {
          failure ??= { error };
        })
        .finally(() => underWay.delete(group));
      underWay.add(group);
      sent = to;
    }
    await delay(1);
  }
  await Promise.all(underWay);
  if (failure) throw (failure as { error: unknown }).error;
  return { latencies, sent, lateMsMax };
}
