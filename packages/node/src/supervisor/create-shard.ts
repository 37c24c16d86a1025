import { randomBytes } from 'node:crypto';
import {
  addShard,
  type Names,
  NO_SMALL_STATE,
  nodeFor,
  type Placement,
  type Pool,
  SpillError,
  TopologyConflictError,
} from '@spill/core';
import type { NatsConnection } from '../nats/connect.js';
import { createLog } from '../nats/log.js';
import { TopologyRaceError, type TopologyStore } from '../nats/topology-store.js';

export interface CreateShard {
  readonly nc: NatsConnection;
  readonly names: Names;
  readonly topology: TopologyStore;
  readonly pool: Pool;
  /** null: as placement says. */
  readonly node: string | null;
  readonly placement: () => Placement;
  readonly dedupeWindowMs: number;
}

/**
 * A new shard, without slots: stream and first record, then its entry. The log comes first, so that the topology never
 * names one that does not exist; a number whose log was made and that was then not entered is tried again with that log.
 *
 * @throws SpillError `not_found` where the node is not, `unavailable` where no node can take it.
 */
export async function createShard(create: CreateShard): Promise<number> {
  for (;;) {
    const { topology, revision } = await create.topology.require();
    const node = create.node ?? nodeFor(topology, create.pool, create.placement());
    if (node === null) throw new SpillError('unavailable', 'every node is silent or drains: a shard can go nowhere');
    if (!topology.nodes.some((entry) => entry.name === node)) {
      const names = topology.nodes.map((entry) => entry.name).join(', ');
      throw new SpillError('not_found', `node is ${JSON.stringify(node)}: the nodes are ${names}`);
    }
    const id = topology.nextShard;
    const replicas = topology.shards[0]?.replicas ?? 1;
    // What other shards know of these slots comes by migration; of its own it knows nothing before now.
    const horizon = Date.now() * 1_000 - create.dedupeWindowMs * 1_000;
    const logId = await createLog(create.nc, create.names, {
      shard: id,
      logId: randomBytes(16).toString('hex'),
      replicas,
      small: { ...NO_SMALL_STATE, horizon, epoch: topology.epoch },
    });
    try {
      await create.topology.update(addShard(topology, { id, pool: create.pool, node, logId, replicas }), revision);
      return id;
    } catch (error) {
      if (!(error instanceof TopologyRaceError || error instanceof TopologyConflictError)) throw error;
    }
  }
}
