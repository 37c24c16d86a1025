import { setTimeout as delay } from 'node:timers/promises';
import type { Bed } from './bed.js';

const BACKLOG_MAX = 150_000;
const LOOK_MS = 50;

export interface KeepUp {
  readonly perSecond: number;
  /** The slowest and the fastest of its sixths, folded a second. */
  readonly slowest: number;
  readonly fastest: number;
}

export interface KeepUpOptions {
  readonly seconds: number;
  /** Until the backlog stands. */
  readonly warmUpSeconds: number;
  readonly inFlight: number;
  /** Sends a request, and adds what was stored to the bed's. */
  readonly send: () => Promise<void>;
}

const PARTS = 6;

/**
 * What comes in as fast as it is folded: clients send while fewer than BACKLOG_MAX transactions wait for the fold, and
 * wait while there are more. The figure is what was folded, so that no backlog flatters it.
 */
export async function keepUp(bed: Bed, { seconds, warmUpSeconds, inFlight, send }: KeepUpOptions): Promise<KeepUp> {
  let folded = await bed.folded();
  let going = true;
  const worker = async (): Promise<void> => {
    while (going) {
      if (bed.acknowledged.count - folded < BACKLOG_MAX) await send();
      else await delay(LOOK_MS / 5);
    }
  };
  const looking = async (): Promise<void> => {
    while (going) {
      folded = await bed.folded();
      await delay(LOOK_MS);
    }
  };
  const measuring = async (): Promise<KeepUp> => {
    try {
      await delay(warmUpSeconds * 1_000);
      const marks = [await mark(bed)];
      for (let part = 0; part < PARTS; part++) {
        await delay((seconds / PARTS) * 1_000);
        marks.push(await mark(bed));
      }
      const rates = marks.slice(1).map((to, i) => rateOf(marks[i] as Mark, to));
      const perSecond = rateOf(marks[0] as Mark, marks.at(-1) as Mark);
      return { perSecond, slowest: Math.min(...rates), fastest: Math.max(...rates) };
    } finally {
      going = false;
    }
  };
  const [kept] = await Promise.all([measuring(), looking(), ...Array.from({ length: inFlight }, worker)]);
  return kept;
}

interface Mark {
  readonly at: number;
  readonly folded: number;
}

async function mark(bed: Bed): Promise<Mark> {
  return { folded: await bed.folded(), at: performance.now() };
}

const rateOf = (from: Mark, to: Mark): number => ((to.folded - from.folded) * 1_000) / (to.at - from.at);
