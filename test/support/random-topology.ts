import { firstTopology, POOLS, type Pool, SLOT_COUNT, type SlotRange, type Topology } from '@spill/core';
import fc from 'fast-check';

export const LARGE_THRESHOLDS = [1n, 2n, 80_000n, 1_000_000n, 2n ** 31n, 2n ** 32n, 2n ** 63n - 1n] as const;

export function topologyOf(shardCount: number, largeThreshold: bigint): Topology {
  return firstTopology({
    accountType: 'text',
    node: { name: 'node-a', labels: {}, since: '2026-01-01T00:00:00.000Z' },
    shardCount,
    largeThreshold,
    replicas: 1,
    secret: '0'.repeat(64),
    logIds: Array.from({ length: shardCount }, (_, i) => `${i}`.padStart(32, '0')),
  });
}

/** A topology as moves would leave it: each pool's slots dealt anew to its shards, in ranges of any size. */
export const movedTopology: fc.Arbitrary<Topology> = fc
  .record({
    shardCount: fc.integer({ min: 3, max: 30 }),
    largeThreshold: fc.constantFrom(...LARGE_THRESHOLDS),
    cuts: fc.array(fc.integer({ min: 1, max: SLOT_COUNT - 1 }), { maxLength: 40 }),
    deal: fc.array(fc.nat(), { minLength: 41, maxLength: 41 }),
  })
  .map(({ shardCount, largeThreshold, cuts, deal }) => {
    const topology = topologyOf(shardCount, largeThreshold);
    const edges = [...new Set([0, ...cuts, SLOT_COUNT])].sort((a, b) => a - b);
    const owners = Object.fromEntries(
      POOLS.map((pool) => {
        const shards = topology.shards.filter((shard) => shard.pool === pool);
        const ranges = edges.slice(1).map((to, i): SlotRange => {
          const shard = shards[(deal[i] as number) % shards.length]?.id as number;
          return { from: edges[i] as number, to, shard };
        });
        return [pool, ranges];
      }),
    ) as Record<Pool, SlotRange[]>;
    return { ...topology, owners };
  });
