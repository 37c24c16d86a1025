import {
  firstTopology,
  NO_SHARD,
  POOLS,
  RouteTable,
  routeTransaction,
  SLOT_COUNT,
  type SlotRange,
  slotOf,
  type Topology,
} from '@spill/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { amount, cleanText } from '../support/wire-arbitraries.ts';

function topology(shardCount: number, largeThreshold: bigint): Topology {
  return firstTopology({
    accountType: 'text',
    node: { name: 'a', labels: {}, since: '' },
    shardCount,
    largeThreshold,
    replicas: 1,
    secret: '00'.repeat(32),
    logIds: Array.from({ length: shardCount }, (_, i) => String(i)),
  });
}

/** The slots of each pool dealt anew, in ranges, among its shards. */
const anyTopology = fc
  .tuple(fc.integer({ min: 3, max: 20 }), fc.constantFrom(1n, 80_000n, 1_000_000n, 2n ** 62n), fc.array(fc.nat(1022)))
  .map(([count, threshold, cuts]): Topology => {
    const before = topology(count, threshold);
    const edges = [0, ...new Set(cuts.map((cut) => cut + 1).sort((a, b) => a - b)), SLOT_COUNT];
    const owners = Object.fromEntries(
      POOLS.map((pool) => {
        const shards = before.shards.filter((shard) => shard.pool === pool);
        const ranges: SlotRange[] = edges.slice(1).map((to, i) => ({
          from: edges[i]!,
          to,
          shard: shards[(i * 7) % shards.length]!.id,
        }));
        return [pool, ranges];
      }),
    );
    return { ...before, owners: owners as unknown as Topology['owners'] };
  });

const nearThreshold = (threshold: bigint) =>
  fc.oneof(
    amount,
    fc
      .tuple(fc.bigInt({ min: -2n, max: 2n }), fc.constantFrom(1n, -1n))
      .map(([by, sign]) => sign * (threshold + by))
      .filter((value) => value !== 0n),
  );

describe('a route table', () => {
  it('says what routeTransaction says: every transaction has exactly one owner, in the pool of its amount', () => {
    fc.assert(
      fc.property(
        anyTopology.chain((t) => fc.tuple(fc.constant(t), nearThreshold(BigInt(t.largeThreshold)))),
        cleanText(128),
        ([t, value], account) => {
          const route = routeTransaction(t, account, value);
          expect(new RouteTable(t).shardFor(slotOf(account), value)).toBe(route.shard.id);
          expect(route.shard.pool).toBe(route.pool);
          const magnitude = value < 0n ? -value : value;
          const expected = magnitude >= BigInt(t.largeThreshold) ? 'large' : value > 0n ? 'credit' : 'debit';
          expect(route.pool).toBe(expected);
        },
      ),
      { numRuns: 500 },
    );
  });

  it('says so where a slot has no owner', () => {
    const t = topology(3, 1_000n);
    const bare = new RouteTable({ ...t, owners: { ...t.owners, credit: [] } });
    expect(bare.shardFor(5, 1n)).toBe(NO_SHARD);
    expect(bare.shardFor(5, -1n)).toBe(2);
  });
});
