import {
  abortMigration,
  addShard,
  beginClosing,
  beginMigration,
  changeShard,
  commitMigration,
  firstTopology,
  markClosed,
  markLogDeleted,
  markRefolding,
  markRetired,
  mayAccept,
  ownedSpans,
  ownerOf,
  POOLS,
  removeDrained,
  removeMigration,
  SLOT_COUNT,
  shardOf,
  slotsOf,
  type Topology,
  TopologyConflictError,
} from '@spill/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { runs } from '../support/property-runs.js';

const at = fc.nat(30);
const change = fc.oneof(
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('begin' as const), at, to: at, part: fc.nat(3) }) },
  {
    weight: 8,
    arbitrary: fc.record({ kind: fc.constantFrom('commit' as const, 'abort' as const, 'remove' as const), at }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constantFrom('close' as const, 'add' as const, 'damage' as const), at }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constantFrom(
        'closed' as const,
        'retired' as const,
        'drained' as const,
        'again' as const,
        'gone' as const,
      ),
      at,
    }),
  },
);
type Change = typeof change extends fc.Arbitrary<infer T> ? T : never;

function apply(topology: Topology, change: Change): Topology | null {
  const shard = topology.shards[change.at % topology.shards.length]!;
  const migration = topology.migrations[change.at % Math.max(1, topology.migrations.length)]?.id ?? 0;
  switch (change.kind) {
    case 'begin': {
      const target = topology.shards[change.to % topology.shards.length]!;
      const owned = ownedSpans(topology, shard.pool, shard.id).slice(0, change.part + 1);
      return beginMigration(topology, { pool: shard.pool, slots: owned, source: shard.id, target: target.id });
    }
    case 'commit':
      return commitMigration(topology, migration, 7);
    case 'abort':
      return abortMigration(topology, migration);
    case 'remove':
      return removeMigration(topology, migration);
    case 'damage':
      return shard.state === 'open' ? changeShard(topology, shard.id, { state: 'damaged', reason: 'lost' }) : null;
    case 'close':
      return beginClosing(topology, shard.id);
    case 'add': {
      const id = topology.nextShard;
      const pool = POOLS[change.at % POOLS.length]!;
      return addShard(topology, { id, pool, node: 'a', logId: logId(id), replicas: 1 });
    }
    case 'closed':
      // As the supervisor does: once its slots have moved away.
      return mayAccept(topology, shard.id) ? null : markClosed(topology, shard.id, 9);
    case 'retired':
      return markRetired(topology, shard.id, '2026-01-01T00:00:00.000Z');
    case 'drained':
      return removeDrained(topology, shard.id, 7);
    case 'again':
      return markRefolding(topology, shard.id, change.at % 2 === 0);
    case 'gone':
      return markLogDeleted(topology, shard.id);
  }
}

describe('changes of the topology that move slots', () => {
  it('leave each slot with one owner that may accept, in one migration at most, never towards a shard that closes', () => {
    fc.assert(
      fc.property(fc.array(change, { maxLength: 80, size: 'max' }), (changes) => {
        let topology = first();
        for (const change of changes) {
          const before = structuredClone(topology);
          let after: Topology | null;
          try {
            after = apply(topology, change);
          } catch (error) {
            if (!(error instanceof TopologyConflictError)) throw error;
            after = null;
          }
          expect(topology).toEqual(before);
          if (after === null) continue;
          if (after !== topology) expect(after.epoch).toBe(before.epoch + 1);
          expectSound(after);
          expectFinal(before, after);
          topology = after;
        }
      }),
      runs(60),
    );
  });
});

function expectSound(topology: Topology): void {
  for (const pool of POOLS) {
    let next = 0;
    for (const { from, to, shard } of topology.owners[pool]) {
      expect(from).toBe(next);
      next = to;
      expect(shardOf(topology, shard)).toMatchObject({
        pool,
        state: expect.stringMatching(/^(open|closing|damaged)$/),
      });
    }
    expect(next).toBe(SLOT_COUNT);
    const moving = topology.migrations.filter((migration) => migration.pool === pool);
    const slots = moving.flatMap((migration) => [...slotsOf(migration.slots)]);
    expect(new Set(slots).size).toBe(slots.length);
    const states = topology.shards.filter((shard) => shard.pool === pool).map(({ state }) => state);
    expect(states.includes('open') || states.includes('damaged')).toBe(true);
  }
  for (const { state, target, source, pool, slots } of topology.migrations) {
    if (state === 'copying') {
      expect(shardOf(topology, target)?.state).toMatch(/^(open|damaged)$/);
      for (const slot of slotsOf(slots)) expect(ownerOf(topology, pool, slot).id).toBe(source);
    }
  }
}

/** An outcome stays what it is; slots go where a commit sends them and nowhere else; what has ended stays ended. */
function expectFinal(before: Topology, after: Topology): void {
  const committed = after.migrations.filter(
    ({ id, state }) =>
      state === 'committed' && before.migrations.some((was) => was.id === id && was.state === 'copying'),
  );
  for (const was of before.migrations) {
    const is = after.migrations.find(({ id }) => id === was.id);
    if (was.state === 'copying') expect(is).toBeDefined();
    else if (is) expect(is.state).toBe(was.state);
  }
  for (const pool of POOLS) {
    for (let slot = 0; slot < SLOT_COUNT; slot += 16) {
      const move = committed.find((one) => one.pool === pool && [...slotsOf(one.slots)].includes(slot));
      expect(ownerOf(after, pool, slot).id).toBe(move?.target ?? ownerOf(before, pool, slot).id);
    }
  }
  for (const { source, target, slots } of committed) {
    expect(shardOf(before, target)?.state).toBe('open');
    expect(after.draining).toContainEqual(expect.objectContaining({ shard: source, slots }));
  }
  for (const was of before.shards) {
    const is = shardOf(after, was.id);
    if (was.state === 'retired') expect(is?.state).toBe('retired');
    if (was.logDeleted) expect(is?.refolding).not.toBe(true);
  }
}

function first(): Topology {
  return firstTopology({
    node: { name: 'a', labels: {}, since: '' },
    shardCount: 7,
    largeThreshold: 1_000n,
    accountType: 'text',
    replicas: 1,
    secret: '17'.repeat(32),
    logIds: Array.from({ length: 7 }, (_, i) => logId(i + 1)),
  });
}

function logId(shard: number): string {
  return `${shard}`.padStart(32, '0');
}
