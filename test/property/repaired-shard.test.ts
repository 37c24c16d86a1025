import { changeShard, removeDrained, repairedShard, type Topology } from '@spill/core';
import { expect, test } from 'vitest';
import { topologyOf } from '../support/random-topology.js';

/** Shard 1 gave slots away at record 9, and was drained to record 7 of an earlier move; shard 2 gave some away too. */
function damaged(): Topology {
  const topology = changeShard(topologyOf(3, 1_000_000n), 1, { state: 'damaged', reason: 'its end is lost' });
  const slots = [{ from: 0, to: 1 }];
  return {
    ...topology,
    shards: topology.shards.map((entry) => (entry.id === 1 ? { ...entry, drainedTo: 7 } : entry)),
    draining: [
      { shard: 1, pool: 'credit', slots, sealedSequence: 9 },
      { shard: 2, pool: 'debit', slots, sealedSequence: 9 },
    ],
  };
}

const ACCEPTED = { logId: 'f'.repeat(32), ledgerId: '', assignmentAbove: 0, epochAbove: 0, state: 'open' } as const;

test('what a repaired shard gave away is drained with the last record that is left of its log', () => {
  const repaired = repairedShard(damaged(), 1, { ...ACCEPTED, sequence: 4 });
  expect(repaired.draining.map(({ shard, sealedSequence }) => [shard, sealedSequence])).toEqual([
    [1, 4],
    [2, 9],
  ]);
  expect(removeDrained(repaired, 1, 3)).toBeNull();
  const drained = removeDrained(repaired, 1, 4);
  expect(drained?.draining.map(({ shard }) => shard)).toEqual([2]);
  expect(drained?.shards.find(({ id }) => id === 1)).toMatchObject({ drainedTo: 4 });
});

test('a log that reaches past the seal keeps it', () => {
  const repaired = repairedShard(damaged(), 1, { ...ACCEPTED, sequence: 12 });
  expect(repaired.draining.map(({ sealedSequence }) => sealedSequence)).toEqual([9, 9]);
  expect(repaired.shards.find(({ id }) => id === 1)).toMatchObject({ drainedTo: 7 });
});

test('a move under way from or to it is aborted; others, and what is committed, go on', () => {
  const move = { pool: 'credit', slots: [{ from: 0, to: 1 }] } as const;
  const topology: Topology = {
    ...damaged(),
    migrations: [
      { ...move, id: 1, source: 1, target: 4, state: 'copying' },
      { ...move, id: 2, source: 4, target: 1, state: 'copying' },
      { ...move, id: 3, source: 1, target: 4, state: 'committed' },
      { ...move, id: 4, source: 4, target: 5, state: 'copying' },
    ] as unknown as Topology['migrations'],
  };
  const { migrations } = repairedShard(topology, 1, { ...ACCEPTED, sequence: 4 });
  expect(migrations.map(({ state }) => state)).toEqual(['aborted', 'aborted', 'committed', 'copying']);
});
