export interface FoldedBurst {
  /** Transactions that the fold took. */
  readonly rows: number;
  /** How long it took, milliseconds. */
  readonly ms: number;
  /** Transactions that were acknowledged meanwhile. */
  readonly arrived: number;
  /** What waits to be folded after it, and the most that may wait, bytes. */
  readonly waitingBytes: number;
  readonly waitingBytesMax: number;
}

const BURST = 2;
const REST = 15;
const REST_MS_MAX = 1_000;

/**
 * How long to wait after a fold before the next one, milliseconds.
 *
 * Where much more arrives than is folded, no fold catches up, and each takes processor and disk from the intake: folds
 * then take a sixteenth of the time, until the burst is over or half of what may wait does.
 */
export function restAfterFold({ rows, ms, arrived, waitingBytes, waitingBytesMax }: FoldedBurst): number {
  if (arrived <= BURST * rows || endsRest(waitingBytes, waitingBytesMax)) return 0;
  return Math.min(REST * ms, REST_MS_MAX);
}

/** Whether so much waits that there is no rest, also where one has begun. */
export function endsRest(waitingBytes: number, waitingBytesMax: number): boolean {
  return waitingBytes > waitingBytesMax / 2;
}
