import { type DataTable, firstTopology, type ShardStatus, type Topology } from '@spill/core';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { keepDirectMarksFew } from '../../packages/node/dist/supervisor/direct-marks.js';
import { runs } from '../support/property-runs.js';

const WINDOW = 600_000_000;
const SKEW = 60_000_000;
const ROUND_MS = 30_000;
const logId = (shard: number): string => `${shard}`.padStart(32, '0');

interface Shard {
  readonly state: 'open' | 'closing' | 'damaged' | 'retired';
  readonly logDeleted: boolean;
  readonly closedSequence: number;
  /** What it says of itself; null: nothing. */
  readonly says: Pick<ShardStatus, 'state' | 'watermark' | 'foldLagMs'> | null;
  /** How far its row in the data table says that it is folded; null: there is no row. */
  readonly folded: number | null;
}

const shard: fc.Arbitrary<Shard> = fc.record({
  state: fc.constantFrom('open' as const, 'open' as const, 'closing' as const, 'damaged' as const, 'retired' as const),
  logDeleted: fc.boolean(),
  closedSequence: fc.integer({ min: 2, max: 99 }),
  says: fc.option(
    fc.record({
      state: fc.constantFrom(
        'serving' as const,
        'serving' as const,
        'fold_only' as const,
        'damaged' as const,
        'opening' as const,
      ),
      watermark: fc.option(fc.nat(99), { freq: 9 }),
      foldLagMs: fc.oneof(fc.constant(0), fc.nat(10_000_000)),
    }),
    { freq: 9 },
  ),
  folded: fc.option(fc.nat(99), { freq: 9 }),
});

describe('marks of direct writes', () => {
  beforeEach(() => void vi.useFakeTimers());
  afterEach(() => void vi.useRealTimers());

  it('go when every log is folded past them and the window, never by time, and not where a log may be folded again', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(shard, { minLength: 3, maxLength: 6 }), async (shards) => {
        const cleared: Parameters<DataTable['clearDirectMarks']>[] = [];
        const errors: string[] = [];
        const stop = keepDirectMarksFew({
          table: {
            watermark: async (id: number) => {
              const { folded } = shards[id - 1] as Shard;
              if (folded === null) return null;
              return { shard: id, logId: logId(id), sequence: folded, number: folded, hash: '', assignment: 1 };
            },
            clearDirectMarks: async (...call: Parameters<DataTable['clearDirectMarks']>) => {
              cleared.push(call);
              return 0;
            },
          } as Partial<DataTable> as DataTable,
          topology: async () => topologyOf(shards),
          statusOf: async (_, id) => ((shards[id - 1] as Shard).says as ShardStatus | null) ?? undefined,
          dedupeWindowMicros: WINDOW,
          maxClockSkewMicros: SKEW,
          onError: (message) => errors.push(message),
        });
        await vi.advanceTimersByTimeAsync(ROUND_MS);
        await stop();
        expect(errors).toEqual([]);
        const live = shards.filter(({ state }) => state !== 'retired');
        const told = live.every(
          ({ says, folded }) =>
            says && says.watermark !== null && says.state !== 'damaged' && says.state !== 'opening' && folded !== null,
        );
        expect(cleared).toHaveLength(told ? 1 : 0);
        for (const [before, watermarks] of cleared) {
          const lag = Math.max(0, ...live.map(({ says }) => says?.foldLagMs ?? 0)) * 1_000;
          expect(before).toBeLessThanOrEqual(Date.now() * 1_000 - lag - WINDOW - SKEW);
          // Of each log that may hold a copy: how far it is folded, or the mark must stay.
          const expected = shards.flatMap(({ state, folded, logDeleted, closedSequence }, i) => {
            if (state === 'retired' && logDeleted) return [];
            return { shard: i + 1, logId: logId(i + 1), sequence: state === 'retired' ? closedSequence : folded };
          });
          expect(watermarks.map(({ shard, logId, sequence }) => ({ shard, logId, sequence }))).toEqual(expected);
        }
      }),
      runs(200),
    );
  });
});

function topologyOf(shards: readonly Shard[]): Topology {
  const first = firstTopology({
    node: { name: 'a', labels: {}, since: '' },
    shardCount: shards.length,
    largeThreshold: 1_000n,
    accountType: 'text',
    replicas: 1,
    secret: '17'.repeat(32),
    logIds: shards.map((_, i) => logId(i + 1)),
  });
  return {
    ...first,
    shards: first.shards.map((entry, i) => {
      const { state, logDeleted, closedSequence } = shards[i] as Shard;
      return state === 'retired' ? { ...entry, state, logDeleted, closedSequence } : { ...entry, state };
    }),
  };
}
