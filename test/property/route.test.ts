import { ownedSlots, POOLS, poolOf, routeTransaction, SLOT_COUNT, slotOf } from '@spill/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { slotVectors } from '../interop/slot-vectors.js';
import { runs } from '../support/property-runs.js';
import { LARGE_THRESHOLDS, movedTopology } from '../support/random-topology.js';
import { cleanText } from '../support/transaction-arbitraries.js';

const MAX = 2n ** 63n - 1n;

/** Amounts at every edge that a threshold makes. */
function edgesOf(threshold: bigint): bigint[] {
  const edges = [1n, 2n, threshold - 1n, threshold, threshold + 1n, MAX - 1n, MAX];
  return [...edges, ...edges.map((amount) => -amount)].filter(
    (amount) => amount !== 0n && amount <= MAX && amount >= -MAX,
  );
}

describe('a route', () => {
  it('leads every transaction to the one shard that owns its slot in its pool', () => {
    fc.assert(
      fc.property(movedTopology, cleanText(128), fc.nat(), (topology, account, which) => {
        const threshold = BigInt(topology.largeThreshold);
        const edges = edgesOf(threshold);
        const amount = edges[which % edges.length] as bigint;
        const route = routeTransaction(topology, account, amount);
        expect(route.slot).toBe(slotOf(account));
        expect(route.pool).toBe(poolOf(amount, threshold));
        const owners = topology.shards.filter(
          (shard) => shard.pool === route.pool && ownedSlots(topology, shard.id)[route.slot],
        );
        expect(owners).toEqual([route.shard]);
        // The same again, and with a remembered slot: a pure function.
        expect(routeTransaction(topology, account, amount, route.slot)).toEqual(route);
      }),
      runs(500),
    );
  });

  it('has a pool for every amount: large by magnitude first, then by sign', () => {
    for (const threshold of LARGE_THRESHOLDS) {
      for (const amount of edgesOf(threshold)) {
        const large = amount >= threshold || amount <= -threshold;
        expect(poolOf(amount, threshold)).toBe(large ? 'large' : amount > 0n ? 'credit' : 'debit');
      }
      expect(poolOf(threshold, threshold)).toBe('large');
      expect(poolOf(-threshold, threshold)).toBe('large');
      if (threshold > 1n) {
        expect(poolOf(threshold - 1n, threshold)).toBe('credit');
        expect(poolOf(1n - threshold, threshold)).toBe('debit');
      }
    }
  });

  it('gives each slot of each pool exactly one owner', () => {
    fc.assert(
      fc.property(movedTopology, (topology) => {
        for (const pool of POOLS) {
          const owners = new Uint8Array(SLOT_COUNT);
          for (const shard of topology.shards) {
            if (shard.pool !== pool) continue;
            ownedSlots(topology, shard.id).forEach((owned, slot) => {
              owners[slot] = (owners[slot] as number) + owned;
            });
          }
          expect(owners.every((count) => count === 1)).toBe(true);
        }
      }),
      runs(100),
    );
  });

  it('uses the hash that the protocol describes', () => {
    expect(slotVectors()).toHaveLength(10);
    for (const { account, slot } of slotVectors()) expect(slotOf(account)).toBe(slot);
  });
});
