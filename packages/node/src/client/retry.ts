import { SpillError, type StampedTransaction, type SubmitResult } from '@spill/core';
import type { OnResults } from '../router/submit-call.js';

/** One try of transactions, which tells a result for each, in order. */
export type SubmitTry = (transactions: readonly StampedTransaction[], tryMs: number, onResults: OnResults) => void;

const WAIT_MS_FIRST = 20;
const WAIT_MS_MAX = 1_000;

/**
 * Tries again what may be tried again, until the deadline: with the same ids and timestamps, so that nothing takes
 * effect twice. `tryMsMax`: after that a try is given up for another one, since whoever had the request may be dead.
 */
export function submitWithRetries(
  transactions: readonly StampedTransaction[],
  deadlineMs: number,
  tryMsMax: number,
  submit: SubmitTry,
  onResults: OnResults,
): void {
  const deadline = performance.now() + deadlineMs;
  // No promise: with thousands of calls at once, what each leaves to the garbage collector decides how fast they are.
  submit(transactions, Math.min(deadlineMs, tryMsMax), (results) => {
    if (results.some(isRetryable)) void retryOpen(transactions, results, deadline, tryMsMax, submit).then(onResults);
    else onResults(results);
  });
}

async function retryOpen(
  transactions: readonly StampedTransaction[],
  results: SubmitResult[],
  deadline: number,
  tryMsMax: number,
  submit: SubmitTry,
): Promise<SubmitResult[]> {
  let open = openOf(results, transactions.keys());
  for (let tries = 1; open.length > 0; tries++) {
    const waitMs = waitBefore(open, results, tries);
    const remainingMs = deadline - performance.now() - waitMs;
    if (remainingMs < 1) break;
    await pause(waitMs);
    const again = open.map((index) => transactions[index] as StampedTransaction);
    const next = await new Promise<SubmitResult[]>((resolve) =>
      submit(again, Math.min(remainingMs, tryMsMax), resolve),
    );
    for (const [i, index] of open.entries()) results[index] = next[i] as SubmitResult;
    open = openOf(results, open);
  }
  return results;
}

/** Asks again while the error says that one may, until the deadline. @throws SpillError the last one. */
export async function askWithRetries<T>(
  deadlineMs: number,
  tryMsMax: number,
  ask: (tryMs: number) => Promise<T>,
): Promise<T> {
  const deadline = performance.now() + deadlineMs;
  for (let tries = 1; ; tries++) {
    try {
      return await ask(Math.min(deadline - performance.now(), tryMsMax));
    } catch (error) {
      if (!(error instanceof SpillError) || !error.retryable) throw error;
      const waitMs = Math.max(error.retryAfterMs ?? 0, backOffMs(tries));
      if (deadline - performance.now() - waitMs < 1) throw error;
      await pause(waitMs);
    }
  }
}

function isRetryable(result: SubmitResult): boolean {
  return result.status === 'rejected' && result.error.retryable;
}

function openOf(results: readonly SubmitResult[], indexes: Iterable<number>): number[] {
  return [...indexes].filter((index) => isRetryable(results[index] as SubmitResult));
}

function waitBefore(open: readonly number[], results: readonly SubmitResult[], tries: number): number {
  let waitMs = backOffMs(tries);
  for (const index of open) {
    const result = results[index] as SubmitResult;
    if (result.status === 'rejected') waitMs = Math.max(waitMs, result.error.retryAfterMs ?? 0);
  }
  return waitMs;
}

/** Grows from try to try, half of it random, so that clients refused together do not come back together. */
function backOffMs(tries: number): number {
  const full = Math.min(WAIT_MS_FIRST * 2 ** (tries - 1), WAIT_MS_MAX);
  return full / 2 + (Math.random() * full) / 2;
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
