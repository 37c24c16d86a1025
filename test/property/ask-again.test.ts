import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { askAgain } from '../../packages/node/src/nats/ask-again.js';

const EVERY_MS = 400;
const TIMEOUT_MS = 2_500;

/** Each question's answer, from the one that decides. */
type Answer = { readonly afterMs: number; readonly value?: string; readonly error?: string };

describe('a question that is asked again', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  async function asked(
    answerOf: (question: number) => Answer,
  ): Promise<{ ms: number; questions: number; end: string }> {
    let questions = 0;
    const began = Date.now();
    const ask = (): Promise<string> => {
      const { afterMs, value, error } = answerOf(++questions);
      return new Promise((resolve, reject) => {
        setTimeout(() => (value === undefined ? reject(new Error(error)) : resolve(value)), afterMs);
      });
    };
    const end = askAgain(ask, EVERY_MS).then(
      (value) => value,
      (error: Error) => error.message,
    );
    await vi.advanceTimersByTimeAsync(0);
    while (vi.getTimerCount() > 0 && !(await settled(end))) await vi.advanceTimersToNextTimerAsync();
    const result = { ms: Date.now() - began, questions, end: await end };
    const before = questions;
    await vi.advanceTimersByTimeAsync(10 * TIMEOUT_MS);
    expect(questions).toBe(before);
    return result;
  }

  test('an answer in time is asked for once', async () => {
    expect(await asked(() => ({ afterMs: 50, value: 'there' }))).toEqual({ ms: 50, questions: 1, end: 'there' });
  });

  test('a leader that is elected meanwhile answers the next question, not the time-out', async () => {
    const electedMs = 1_000;
    const answerOf = (question: number): Answer =>
      (question - 1) * EVERY_MS < electedMs
        ? { afterMs: TIMEOUT_MS, error: 'time-out' }
        : { afterMs: 10, value: 'there' };
    expect(await asked(answerOf)).toEqual({ ms: 1_210, questions: 4, end: 'there' });
  });

  test('a slow answer to the first question counts', async () => {
    const answerOf = (question: number): Answer =>
      question === 1 ? { afterMs: 900, value: 'first' } : { afterMs: TIMEOUT_MS, value: 'later' };
    expect(await asked(answerOf)).toEqual({ ms: 900, questions: 3, end: 'first' });
  });

  test('nobody answers: the first time-out ends it', async () => {
    const end = await asked(() => ({ afterMs: TIMEOUT_MS, error: 'time-out' }));
    expect(end).toEqual({ ms: TIMEOUT_MS, questions: 7, end: 'time-out' });
  });

  test('a refusal ends it at once', async () => {
    expect(await asked(() => ({ afterMs: 5, error: 'no such stream' }))).toMatchObject({ ms: 5, questions: 1 });
  });
});

async function settled(promise: Promise<unknown>): Promise<boolean> {
  const open = Symbol();
  return (await Promise.race([promise, Promise.resolve(open)])) !== open;
}
