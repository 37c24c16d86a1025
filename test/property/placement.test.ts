import {
  drainNode,
  homeless,
  nextMove,
  nodeFor,
  POOLS,
  type PoolLabels,
  reassignShard,
  registerNode,
  removeNode,
  type Topology,
  TopologyConflictError,
} from '@spill/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { runs } from '../support/property-runs.js';
import { topologyOf } from '../support/random-topology.js';

interface World {
  readonly topology: Topology;
  readonly alive: ReadonlySet<string>;
  readonly reachable: ReadonlySet<number>;
  readonly poolLabels: PoolLabels;
}

const NODES = ['node-a', 'node-b', 'node-c', 'node-d', 'node-e'] as const;

const world: fc.Arbitrary<World> = fc
  .record({
    shardCount: fc.integer({ min: 3, max: 20 }),
    nodes: fc.integer({ min: 1, max: NODES.length }),
    places: fc.array(fc.nat(), { minLength: 20, maxLength: 20 }),
    states: fc.array(fc.constantFrom('open', 'open', 'open', 'closing', 'closed', 'damaged', 'retired'), {
      minLength: 20,
      maxLength: 20,
    }),
    labelled: fc.array(fc.boolean(), { minLength: 5, maxLength: 5 }),
    draining: fc.array(fc.boolean(), { minLength: 5, maxLength: 5 }),
    alive: fc.array(fc.boolean(), { minLength: 5, maxLength: 5 }),
    lost: fc.array(fc.integer({ min: 1, max: 20 }), { maxLength: 4 }),
    pinned: fc.subarray([...POOLS]),
  })
  .map(({ shardCount, nodes, places, states, labelled, draining, alive, lost, pinned }): World => {
    let topology = topologyOf(shardCount, 1_000_000n);
    const names = NODES.slice(0, nodes);
    for (const [i, name] of names.entries()) {
      topology = registerNode(topology, {
        name,
        labels: labelled[i] ? { disk: 'fast' } : {},
        since: '2026-01-02T00:00:00.000Z',
        ...(draining[i] && { draining: true }),
      });
    }
    const shards = topology.shards.map((shard, i) => ({
      ...shard,
      node: names[(places[i] as number) % nodes] as string,
      state: states[i] as 'open',
      assignment: i + 1,
    }));
    return {
      topology: { ...topology, shards },
      alive: new Set(names.filter((_, i) => alive[i])),
      reachable: new Set(shards.map(({ id }) => id).filter((id) => !lost.includes(id))),
      poolLabels: Object.fromEntries(pinned.map((pool) => [pool, { disk: 'fast' }])),
    };
  });

/** All moves until there is none; each is applied. */
function settle(
  { topology, reachable, ...placement }: World,
  mayEvenOut: boolean,
): { topology: Topology; moves: number } {
  let now = topology;
  for (let moves = 0; ; moves++) {
    const move = nextMove(now, placement, reachable, mayEvenOut);
    if (!move) return { topology: now, moves };
    expect(moves).toBeLessThan(3 * topology.shards.length);
    const next = reassignShard(now, move);
    expect(next.epoch).toBe(now.epoch + 1);
    now = next;
  }
}

const mayRun = ({ topology, alive }: World): string[] =>
  topology.nodes.filter((node) => alive.has(node.name) && !node.draining).map(({ name }) => name);

const fits = ({ topology, poolLabels }: World, node: string, pool: (typeof POOLS)[number]): boolean => {
  const asked = poolLabels[pool]?.disk;
  return asked === undefined || topology.nodes.find(({ name }) => name === node)?.labels.disk === asked;
};

const count = (topology: Topology, node: string): number =>
  topology.shards.filter((shard) => shard.node === node && shard.state !== 'retired').length;

describe('placement', () => {
  it('takes every reachable shard from dead and draining nodes, leaves every other where it is, and ends', () => {
    fc.assert(
      fc.property(world, (given) => {
        const { topology, moves } = settle(given, false);
        const able = mayRun(given);
        const before = homeless(given.topology, given);
        expect(moves).toBe(able.length === 0 ? 0 : before.filter(({ id }) => given.reachable.has(id)).length);
        for (const [i, shard] of topology.shards.entries()) {
          const was = given.topology.shards[i]!;
          expect({ ...shard, node: was.node }).toEqual(was);
          const urgent = before.some(({ id }) => id === shard.id) && given.reachable.has(shard.id) && able.length > 0;
          if (!urgent) expect(shard.node).toBe(was.node);
          else expect(able).toContain(shard.node);
        }
      }),
      runs(300),
    );
  });

  it('evens out in few moves: pinned pools on nodes that carry the labels, and no node two shards fuller than it need be', () => {
    fc.assert(
      fc.property(world, (given) => {
        const { topology } = settle(given, true);
        const able = mayRun(given);
        for (const shard of topology.shards) {
          if (!['open', 'closing'].includes(shard.state) || !given.reachable.has(shard.id) || able.length === 0)
            continue;
          const fitting = able.filter((node) => fits(given, node, shard.pool));
          const candidates = fitting.length > 0 ? fitting : able;
          expect(candidates).toContain(shard.node);
          const emptiest = Math.min(...candidates.map((node) => count(topology, node)));
          expect(count(topology, shard.node) - emptiest).toBeLessThan(2);
        }
      }),
      runs(300),
    );
  });

  it('gives a new shard the node that has the fewest of those it may be on', () => {
    fc.assert(
      fc.property(world, fc.constantFrom(...POOLS), (given, pool) => {
        const node = nodeFor(given.topology, pool, given);
        const able = mayRun(given);
        if (able.length === 0) {
          expect(node).toBeNull();
          return;
        }
        const fitting = able.filter((name) => fits(given, name, pool));
        const candidates = fitting.length > 0 ? fitting : able;
        expect(candidates).toContain(node);
        expect(count(given.topology, node as string)).toBe(
          Math.min(...candidates.map((name) => count(given.topology, name))),
        );
      }),
      runs(300),
    );
  });

  it('is refused where the shard has moved on, or its new node is not there or drains', () => {
    const two = registerNode(topologyOf(3, 1n), { name: 'node-b', labels: {}, since: '' });
    const moved = reassignShard(two, { shard: 1, from: 'node-a', to: 'node-b' });
    expect(moved.shards[0]).toMatchObject({ node: 'node-b', assignment: 0 });
    const refused = (topology: Topology, shard: number, from: string, to: string): void => {
      expect(() => reassignShard(topology, { shard, from, to })).toThrow(TopologyConflictError);
    };
    refused(moved, 1, 'node-a', 'node-b');
    refused(two, 9, 'node-a', 'node-b');
    refused(two, 1, 'node-a', 'node-c');
    refused(two, 1, 'node-a', 'node-a');
    refused(drainNode(two, 'node-b') as Topology, 1, 'node-a', 'node-b');
  });

  it('drains all nodes but the last, and a start takes one back', () => {
    const two = registerNode(topologyOf(3, 1n), { name: 'node-b', labels: {}, since: '' });
    const drained = drainNode(two, 'node-a') as Topology;
    expect(drained.nodes.map(({ draining }) => draining ?? false)).toEqual([true, false]);
    expect(drainNode(drained, 'node-a')).toBeNull();
    expect(() => drainNode(drained, 'node-b')).toThrow(TopologyConflictError);
    expect(() => drainNode(two, 'node-x')).toThrow(TopologyConflictError);
    const back = registerNode(drained, { name: 'node-a', labels: {}, since: '' });
    expect(back.nodes.some(({ draining }) => draining)).toBe(false);
  });
  it('removes a node that has no shards to run, and no other', () => {
    const two = registerNode(topologyOf(3, 1n), { name: 'node-b', labels: {}, since: '' });
    expect(() => removeNode(two, 'node-a')).toThrow(
      'shards 1, 2, 3 are assigned to it; drain it first: spill-node drain --node node-a',
    );
    expect(() => removeNode(two, 'node-x')).toThrow('there is no node node-x: the nodes are node-a, node-b');
    const removed = removeNode(two, 'node-b');
    expect(removed.nodes.map(({ name }) => name)).toEqual(['node-a']);
    expect(removed.epoch).toBe(two.epoch + 1);
    const ended = {
      ...two,
      shards: two.shards.map((shard) => ({ ...shard, node: 'node-b', state: 'retired' as const })),
    };
    expect(removeNode(ended, 'node-b').shards).toEqual(ended.shards);
  });
});
