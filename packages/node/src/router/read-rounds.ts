import { SpillError } from '@spill/core';

/** Why a round of a read has no answer yet: another one may have. */
export class RoundFailed {
  constructor(
    /** For the error after the last round. */
    readonly reason: string,
    /** Whether the next round may begin at once: only the topology or the watermark was old. */
    readonly atOnce: boolean,
  ) {}
}

export const ROUNDS_MAX = 5;
const WAIT_MS_FIRST = 20;

/**
 * Reads in rounds, each from a fresh topology on, until one succeeds. A round waits for nothing beyond `deadline`
 * (monotonic clock, milliseconds). @throws SpillError `unavailable` after the last one, or `timeout` at the deadline:
 * never a partial answer.
 */
export async function inRounds<T>(
  deadlineMs: number,
  round: (deadline: number) => Promise<T | RoundFailed>,
): Promise<T> {
  const deadline = performance.now() + deadlineMs;
  let reason = '';
  for (let number = 1; number <= ROUNDS_MAX; number++) {
    const remainingMs = deadline - performance.now();
    if (remainingMs < 1) break;
    const result = await round(deadline);
    if (!(result instanceof RoundFailed)) return result;
    reason = result.reason;
    if (!result.atOnce && number < ROUNDS_MAX) await pause(Math.min(WAIT_MS_FIRST * 4 ** (number - 1), remainingMs));
  }
  if (performance.now() >= deadline) throw new SpillError('timeout', `not answered within ${deadlineMs} ms: ${reason}`);
  throw new SpillError('unavailable', `${ROUNDS_MAX} rounds without a full answer: ${reason}`);
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
