import { type FoldOutcome, type FoldRequest, KnownIds, Pending, type Watermark } from '@spill/core';
import { expect, it, vi } from 'vitest';
import { FoldLoop } from '../../packages/node/dist/fold/fold-loop.js';
import { FoldSource } from '../../packages/node/dist/fold/fold-source.js';
import { RecordMarks } from '../../packages/node/dist/shard/record-marks.js';
import { addKnown } from '../support/add-known.js';

const KEY = { k0: 1, k1: 2 };
const ROWS_A_RECORD = 1_000;
const RECORDS = 600;
const GIB = 2 ** 30;

type Answer = (request: FoldRequest) => { ms?: number; setAside?: number; dropped?: number; failure?: 'blocked' };

/** The sizes of the folds of a backlog of which each transaction has an account of its own. */
async function sizes(
  folds: number,
  answer: Answer,
  settings: {
    folds?: 'wide' | 'narrow';
    pendingBytesMax?: number;
    arrivals?: number;
    looksEveryMs?: number;
    onEnd?: (now: number, loop: FoldLoop) => void;
  } = {},
): Promise<number[]> {
  const known = new KnownIds(KEY, () => 0);
  const marks = new RecordMarks();
  let sequence = 0;
  const arrive = (): void => {
    sequence += 1;
    const rows = Array.from({ length: ROWS_A_RECORD }, (_, i) => {
      const name = `${sequence * ROWS_A_RECORD + i}`;
      return { account: name, id: name, amount: 1n, timestamp: 1 };
    });
    addKnown(known, KEY, rows, sequence);
    marks.add({ sequence, number: sequence, hash: '', rows: ROWS_A_RECORD, bytes: 40_000, now: 0 });
  };
  for (let record = 0; record < RECORDS; record++) arrive();
  const pending = new Pending(known);
  pending.rebase(0);
  const asked: number[] = [];
  let enough = (): void => {};
  const done = new Promise<void>((resolve) => {
    enough = resolve;
  });
  let folded: Watermark | null = null;
  const table = {
    watermark: async (): Promise<Watermark | null> => folded,
    async fold(request: FoldRequest): Promise<FoldOutcome> {
      const { ms = 1, setAside = 0, dropped = 0, failure } = answer(request);
      await new Promise((resolve) => setTimeout(resolve, ms));
      for (let i = 0; i < (settings.arrivals ?? 0); i++) arrive();
      settings.onEnd?.(performance.now(), loop);
      asked.push(request.rows.length);
      expect(request.divisible).toBe(request.rows.length > ROWS_A_RECORD);
      if (asked.length === folds) enough();
      if (failure) return { outcome: failure, detail: 'canceling statement due to statement timeout' };
      const watermark = { ...request.from, ...request.to };
      folded = watermark;
      return { outcome: 'folded', watermark, applied: 0, dropped, setAside, conflicts: 0 };
    },
  };
  const loop = new FoldLoop(
    {
      shard: 1,
      pool: 'credit',
      assignment: 1,
      logId: '',
      replicas: 1,
      foldAgeMs: 1,
      foldCount: 1,
      pendingBytesMax: settings.pendingBytesMax ?? GIB,
      folds: settings.folds ?? 'wide',
      foldedUpTo: 0,
    },
    {
      table: table as never,
      source: new FoldSource(known, marks, pending, { read: nothing }, () => 0, 0),
      backlog: () => ({ rows: marks.rows, bytes: marks.bytes, records: marks.records, ageMs: 1_000 }),
      judge: async () => ({ verdict: 'good' }) as never,
      ledgerId: () => null,
      onWatermark: (at, how) => {
        if (how === 'looked') pending.rebase(at);
        else pending.commitFold(at);
        marks.dropUpTo(at);
      },
      onRefolding: () => {},
      onDamaged: () => {},
      onSuperseded: () => {},
    },
  );
  let failed: Error | null = null;
  loop.start((error) => {
    failed = error;
    enough();
  });
  const { looksEveryMs } = settings;
  const lookAgain = (): void => {
    arrive();
    loop.lookAgain();
  };
  const looking = looksEveryMs && setInterval(lookAgain, looksEveryMs);
  await done;
  clearInterval(looking);
  await loop.stop();
  expect(failed).toBe(null);
  return asked.slice(0, folds);
}

async function* nothing(): AsyncGenerator<never> {}

it('folds of many accounts grow where all goes well, up to 200,000', async () => {
  expect(await sizes(3, () => ({}))).toEqual([20_000, 160_000, 200_000]);
});

it('they take no longer than two seconds at the pace of the one before', async () => {
  const [first, second] = await sizes(2, () => ({ ms: 1_000 }));
  expect(first).toBe(20_000);
  expect(second).toBeGreaterThanOrEqual(20_000);
  expect(second).toBeLessThanOrEqual(40_000);
});

it('one that failed, or met what it had to set aside or drop, is followed by a small one', {
  timeout: 20_000,
}, async () => {
  for (const unusual of [{ failure: 'blocked' as const }, { setAside: 1 }, { dropped: 1 }]) {
    const asked = await sizes(3, ({ rows }) => (rows.length > 20_000 ? unusual : {}));
    expect(asked).toEqual([20_000, 160_000, 20_000]);
  }
});

it('none is large in a burst, nor where everybody waits for one connection', async () => {
  expect(await sizes(2, () => ({ ms: 10 }), { arrivals: 50 })).toEqual([20_000, 20_000]);
  expect(await sizes(3, () => ({}), { folds: 'narrow' })).toEqual([20_000, 20_000, 20_000]);
});

it('before a fold in a burst there is a rest, until the burst is over', async () => {
  const begins: number[] = [];
  const ends: number[] = [];
  const took = (): { ms: number } => {
    begins.push(performance.now());
    return { ms: 10 };
  };
  await sizes(2, took, { arrivals: 50, folds: 'narrow', onEnd: (now) => ends.push(now) });
  // That nothing comes any more is seen at the first look.
  expect(begins[1]! - ends[0]!).toBeGreaterThanOrEqual(99);
});

it('a fold that somebody waits for ends a rest, and the next one rests anew', async () => {
  const begins: number[] = [];
  const ends: number[] = [];
  // The second ends after the rest before it would have.
  const took = (): { ms: number } => ({ ms: begins.push(performance.now()) === 2 ? 1_100 : 10 });
  const onEnd = (now: number, loop: FoldLoop): void => {
    if (ends.push(now) === 1) setTimeout(() => void loop.foldTo(30), 20);
  };
  await sizes(3, took, { arrivals: 100, folds: 'narrow', onEnd });
  expect(begins[1]! - ends[0]!).toBeLessThan(99);
  expect(begins[2]! - ends[1]!).toBeGreaterThanOrEqual(99);
});

it('a look interrupts a rest, and does not begin it anew', async () => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'setInterval', 'clearInterval', 'performance'] });
  try {
    // 1,000 every 10 ms, where folds take 20 a millisecond: a burst as long as it lasts.
    let asked: number[] | null = null;
    void sizes(2, () => ({ ms: 1_000 }), { looksEveryMs: 10 }).then((sizes) => {
      asked = sizes;
    });
    // A fold, a rest, a fold.
    for (let ms = 0; ms < 3_500 && !asked; ms += 5) {
      await vi.advanceTimersByTimeAsync(5);
      await new Promise(setImmediate);
    }
    expect(asked).toHaveLength(2);
  } finally {
    vi.useRealTimers();
  }
});

it('none takes more than a quarter of what may wait', async () => {
  // A record of these has 40 bytes a transaction.
  expect(await sizes(3, () => ({}), { pendingBytesMax: 4 * 40 * 70_000 })).toEqual([20_000, 70_000, 70_000]);
});
