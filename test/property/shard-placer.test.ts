import { registerNode, type ShardMove, type Topology } from '@spill/core';
import { describe, expect, test } from 'vitest';
import type { TopologyStore } from '../../packages/node/src/nats/topology-store.js';
import { ShardPlacer } from '../../packages/node/src/supervisor/shard-placer.js';
import { topologyOf } from '../support/random-topology.js';

const SINCE = '2026-01-02T00:00:00.000Z';

/** Three shards on `dead`, and two nodes that live. `copies`: of each log. */
function world(copies: number) {
  let topology: Topology = topologyOf(3, 1_000_000n);
  for (const name of ['dead', 'b', 'c']) topology = registerNode(topology, { name, labels: {}, since: SINCE });
  topology = {
    ...topology,
    nodes: topology.nodes.filter(({ name }) => name !== 'node-a'),
    shards: topology.shards.map((shard) => ({ ...shard, node: 'dead', replicas: copies })),
  };
  const moves: ShardMove[] = [];
  const said: string[] = [];
  let reachable: (shard: number) => Promise<boolean> = async () => false;
  const change: TopologyStore['change'] = async (make) => {
    topology = make(topology) ?? topology;
    return { topology, revision: topology.epoch };
  };
  const placer = new ShardPlacer({
    topology: { change } as TopologyStore,
    poolLabels: {},
    alive: () => new Set(['b', 'c']),
    logReachable: (shard) => reachable(shard),
    onMove: (move) => moves.push(move),
    log: (message) => said.push(message),
  });
  return {
    moves,
    said,
    round: () => placer.round(topology),
    nodes: () => topology.shards.map(({ node }) => node),
    logsAre: (answer: (shard: number) => Promise<boolean>) => {
      reachable = answer;
    },
  };
}

describe('shards of a dead node', () => {
  test('with several copies go elsewhere while their logs still elect leaders', async () => {
    const { round, moves, nodes, logsAre } = world(3);
    // Nobody answers as long as there is no leader.
    logsAre(() => new Promise(() => {}));
    await round();
    expect(nodes()).toEqual(['b', 'c', 'b']);
    expect(moves.map(({ shard, to }) => [shard, to])).toEqual([
      [1, 'b'],
      [2, 'c'],
      [3, 'b'],
    ]);
  });

  test('with the only copy wait where it cannot be reached, and go where it can', async () => {
    const { round, moves, nodes, said, logsAre } = world(1);
    await round();
    expect(moves).toEqual([]);
    expect(said.at(-1)).toContain('shard 1 of node dead waits: its log (1 copy) cannot be reached');
    logsAre(async (shard) => shard === 2);
    await round();
    expect(nodes()).toEqual(['dead', 'b', 'dead']);
  });
});
