/** A shard that leaves requests unanswered: who waits behind them is sent on or told, each by its own deadline. */
import { readSubmitRequest, type SubmitResult } from '@spill/core';
import type { Submitter } from '@spill/node';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { rowsOf } from '../support/fake-shard.ts';
import { topologyOf } from '../support/random-topology.js';
import { answerOf, submitterTo } from '../support/submitter-to.js';

/** A submitter to shards that never answer a request with one of `lost` in it, and any other one at once. */
function submitterLosing(lost: ReadonlySet<string>): Submitter {
  return submitterTo(topologyOf(3, 1_000n), async (_target, _verb, payload, timeoutMs) => {
    const rows = rowsOf(readSubmitRequest(payload)!.batch);
    if (!rows.some(({ id }) => lost.has(id))) return answerOf(new Uint8Array(rows.length));
    await new Promise((resolve) => setTimeout(resolve, timeoutMs));
    return { outcome: 'no_answer', detail: 'lost' };
  });
}

interface Answer {
  readonly result: SubmitResult;
  readonly afterMs: number;
}

/** One transaction; what came of it, and when. */
function submit(submitter: Submitter, id: string, deadlineMs: number): { answer: Answer | null } {
  const told: { answer: Answer | null } = { answer: null };
  const began = performance.now();
  const transaction = { account: 'a', id, amount: 5n, timestamp: Date.now() * 1_000, stamped: true };
  submitter.take([transaction], deadlineMs, ([result]) => {
    if (told.answer) throw new Error(`${id} was answered twice`);
    told.answer = { result: result as SubmitResult, afterMs: performance.now() - began };
  });
  return told;
}

/** As many requests in flight to the shard, none of which is answered within 30 s. */
async function hang(submitter: Submitter, lost: readonly string[]): Promise<void> {
  for (const id of lost) {
    submit(submitter, id, 30_000);
    await vi.advanceTimersByTimeAsync(150);
  }
}

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

it('two requests that are not answered do not hold up what comes after', async () => {
  const lost = ['1', '2'];
  const submitter = submitterLosing(new Set(lost));
  await hang(submitter, lost);
  const after = submit(submitter, 'after', 5_000);
  await vi.advanceTimersByTimeAsync(5_000);
  expect(after.answer).toMatchObject({ result: { status: 'stored' } });
  expect(after.answer?.afterMs).toBeLessThan(200);
});

it('what waits behind as many unanswered requests as may be in flight is told by its own deadline', async () => {
  const lost = ['1', '2', '3', '4', '5', '6', '7', '8'];
  const submitter = submitterLosing(new Set(lost));
  await hang(submitter, lost);
  const deadlines = [1_000, 300, 2_000, 600];
  const waiting = deadlines.map((deadlineMs, i) => submit(submitter, `waits ${i}`, deadlineMs));
  await vi.advanceTimersByTimeAsync(2_500);
  for (const [i, { answer }] of waiting.entries()) {
    expect(answer).toMatchObject({ result: { status: 'rejected', error: { code: 'timeout', retryable: true } } });
    expect(answer?.afterMs).toBeLessThan((deadlines[i] as number) + 50);
  }
  // Nothing of it is left behind: once these are given up, the next one is sent.
  await vi.advanceTimersByTimeAsync(30_000);
  await submitter.idle();
  const next = submit(submitter, 'next', 1_000);
  await vi.advanceTimersByTimeAsync(10);
  expect(next.answer).toMatchObject({ result: { status: 'stored' } });
});
