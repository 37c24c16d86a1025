import { setImmediate as turn } from 'node:timers/promises';
import { expect, test, vi } from 'vitest';
import { notOlder } from '../../packages/node/dist/nats/not-older.js';

const isOlder = (told: number, known: number): boolean => told < known;

test('what becomes known while an answer is on its way does not make it an old one', async () => {
  let known = 5;
  let reads = 0;
  const read = async (): Promise<number> => {
    reads += 1;
    await turn();
    known = 6;
    return 5;
  };
  expect(await notOlder(read, () => known, isOlder)).toEqual({ told: 5, isOlder: false });
  expect(reads).toBe(1);
});

test('an answer older than what was known is asked for again, against what is known by then', async () => {
  const answers = [3, 5, 6];
  const known = [4, 6, 6];
  const answer = notOlder(
    async () => answers.shift() as number,
    () => known.shift() as number,
    isOlder,
  );
  expect(await answer).toEqual({ told: 6, isOlder: false });
  expect(answers).toEqual([]);
});

test('what stays older is given as it is, and said to be older', async () => {
  vi.useFakeTimers();
  try {
    const answer = notOlder(
      async () => 3,
      () => 4,
      isOlder,
      1_000,
    );
    await vi.advanceTimersByTimeAsync(2_000);
    expect(await answer).toEqual({ told: 3, isOlder: true });
  } finally {
    vi.useRealTimers();
  }
});
