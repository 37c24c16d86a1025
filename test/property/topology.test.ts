import {
  changeShard,
  firstTopology,
  holdersOf,
  ownerOf,
  POOLS,
  raiseAssignment,
  registerNode,
  SLOT_COUNT,
  shardOf,
  spansContain,
  type Topology,
  TopologyConflictError,
} from '@spill/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { runs } from '../support/property-runs.js';
import { movedTopology, topologyOf } from '../support/random-topology.js';

function expectGapless(topology: Topology): void {
  for (const pool of POOLS) {
    let next = 0;
    for (const range of topology.owners[pool]) {
      expect(range.from).toBe(next);
      expect(range.to).toBeGreaterThanOrEqual(range.from);
      expect(shardOf(topology, range.shard)?.pool).toBe(pool);
      next = range.to;
    }
    expect(next).toBe(SLOT_COUNT);
  }
}

type Change =
  | { readonly kind: 'raise'; readonly shard: number; readonly node: string; readonly atLeast: number }
  | {
      readonly kind: 'state';
      readonly shard: number;
      readonly state: 'open' | 'closed' | 'damaged' | 'failed' | 'retired';
    }
  | { readonly kind: 'assignment'; readonly shard: number; readonly assignment: number }
  | { readonly kind: 'move'; readonly shard: number; readonly node: string }
  | { readonly kind: 'register'; readonly node: string };

const shard = fc.integer({ min: 0, max: 7 });
const node = fc.constantFrom('node-a', 'node-b');
const change: fc.Arbitrary<Change> = fc.oneof(
  fc.record({ kind: fc.constant('raise' as const), shard, node, atLeast: fc.nat(20) }),
  fc.record({
    kind: fc.constant('state' as const),
    shard,
    state: fc.constantFrom(
      'open' as const,
      'closed' as const,
      'damaged' as const,
      'failed' as const,
      'retired' as const,
    ),
  }),
  fc.record({ kind: fc.constant('assignment' as const), shard, assignment: fc.nat(20) }),
  fc.record({ kind: fc.constant('move' as const), shard, node }),
  fc.record({ kind: fc.constant('register' as const), node }),
);

function apply(topology: Topology, change: Change): Topology {
  switch (change.kind) {
    case 'raise':
      return raiseAssignment(topology, change.shard, change.node, change.atLeast);
    case 'state':
      return changeShard(topology, change.shard, {
        state: change.state,
        ...(change.state === 'damaged' ? { reason: 'records are missing' } : {}),
      });
    case 'assignment':
      return changeShard(topology, change.shard, { assignment: change.assignment });
    case 'move':
      return changeShard(topology, change.shard, { node: change.node });
    case 'register':
      return registerNode(topology, { name: change.node, labels: {}, since: '2026-01-02T00:00:00.000Z' });
  }
}

describe('a topology', () => {
  it('begins with every slot of every pool owned, without a gap, for any number of shards', () => {
    for (const count of [...Array.from({ length: 40 }, (_, i) => i + 3), 100, 1_000, 3_072, 3_073, 4_000]) {
      const topology = topologyOf(count, 1_000_000n);
      expectGapless(topology);
      expect(topology.shards.map((shard) => shard.id)).toEqual(Array.from({ length: count }, (_, i) => i + 1));
      expect(topology.nextShard).toBe(count + 1);
      for (const pool of POOLS) {
        expect(topology.shards.some((shard) => shard.pool === pool)).toBe(true);
        const sizes = topology.owners[pool].map((range) => range.to - range.from);
        expect(Math.max(...sizes) - Math.min(...sizes)).toBeLessThanOrEqual(1);
        for (const slot of [0, 1, 511, 512, SLOT_COUNT - 1]) expect(ownerOf(topology, pool, slot).pool).toBe(pool);
      }
    }
    for (const count of [0, 1, 2]) expect(() => topologyOf(count, 1n)).toThrow(TopologyConflictError);
  });

  it('changes by one epoch at a time; assignments only grow, what is retired stays, nobody starts what is not theirs', () => {
    fc.assert(
      fc.property(fc.array(change, { maxLength: 40, size: 'max' }), (changes) => {
        let topology: Topology = topologyOf(6, 1_000_000n);
        const { owners } = topology;
        for (const change of changes) {
          const before = structuredClone(topology);
          let after: Topology;
          try {
            after = apply(topology, change);
          } catch (error) {
            if (!(error instanceof TopologyConflictError)) throw error;
            expect(topology).toEqual(before);
            continue;
          }
          expect(topology).toEqual(before);
          expect(after.epoch).toBe(before.epoch + 1);
          expect(after.owners).toEqual(owners);
          for (const was of before.shards) {
            const is = shardOf(after, was.id);
            expect(is?.assignment).toBeGreaterThanOrEqual(was.assignment);
            expect(is?.logId).toBe(was.logId);
            if (was.state === 'retired') expect(is?.state).toBe('retired');
            if (change.kind === 'raise' && change.shard === was.id) {
              expect(was.node).toBe(change.node);
              expect(is?.assignment).toBeGreaterThan(Math.max(was.assignment, change.atLeast));
            }
            // What is missing is said as long as it is missing.
            if (is?.state === 'damaged') expect(is.reason).toBe('records are missing');
            if (is?.state === 'open') expect(is.reason).toBeUndefined();
          }
          expect(new Set(after.nodes.map((node) => node.name)).size).toBe(after.nodes.length);
          topology = after;
        }
      }),
      runs(100),
    );
  });

  it('names every shard that may hold unfolded transactions of a slot, each once', () => {
    const draining = fc.array(
      fc.record({ at: fc.nat(), from: fc.nat(SLOT_COUNT - 1), size: fc.integer({ min: 1, max: 500 }) }),
      { maxLength: 6 },
    );
    fc.assert(
      fc.property(
        movedTopology,
        draining,
        fc.nat(),
        fc.boolean(),
        fc.nat(SLOT_COUNT - 1),
        (moved, plans, at, refolds, slot) => {
          const refolding = refolds ? (moved.shards[at % moved.shards.length]?.id as number) : 0;
          const topology: Topology = {
            ...moved,
            shards: moved.shards.map((shard) => (shard.id === refolding ? { ...shard, refolding: true } : shard)),
            draining: plans.map(({ at, from, size }) => {
              const { id, pool } = moved.shards[at % moved.shards.length] as {
                id: number;
                pool: (typeof POOLS)[number];
              };
              return { shard: id, pool, slots: [{ from, to: from + size }], sealedSequence: 1 };
            }),
          };
          const holders = holdersOf(topology, slot);
          const ids = holders.map((holder) => holder.shard.id);
          expect(new Set(ids).size).toBe(ids.length);
          const owners = POOLS.map((pool) => ownerOf(topology, pool, slot).id);
          for (const holder of holders)
            expect(holder.role).toBe(owners.includes(holder.shard.id) ? 'owner' : 'draining');
          const refoldingPool = shardOf(topology, refolding)?.pool;
          const expected = topology.shards.filter(
            (shard) =>
              owners.includes(shard.id) ||
              shard.pool === refoldingPool ||
              topology.draining.some((entry) => entry.shard === shard.id && spansContain(entry.slots, slot)),
          );
          expect([...ids].sort((a, b) => a - b)).toEqual(expected.map((shard) => shard.id));
        },
      ),
      runs(200),
    );
  });

  it('has a log id for each shard as handed in', () => {
    const topology = firstTopology({
      accountType: 'text',
      node: { name: 'n', labels: {}, since: '' },
      shardCount: 3,
      largeThreshold: 2n ** 63n - 1n,
      replicas: 3,
      secret: 'a'.repeat(64),
      logIds: ['x', 'y', 'z'],
    });
    expect(topology.shards.map((shard) => [shard.logId, shard.replicas, shard.assignment])).toEqual([
      ['x', 3, 0],
      ['y', 3, 0],
      ['z', 3, 0],
    ]);
    expect(BigInt(topology.largeThreshold)).toBe(2n ** 63n - 1n);
  });
});
