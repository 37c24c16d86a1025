import { POOLS, type Topology } from '@spill/core';

/** The topology as `spill.supervisor.topology` shows it: in the protocol's names, and without the cluster's secret. `alive`: the nodes heard of lately. */
export function topologyReply(topology: Topology, alive: ReadonlySet<string>): Readonly<Record<string, unknown>> {
  return {
    epoch: topology.epoch,
    hash: topology.hash,
    slot_count: topology.slotCount,
    large_threshold: BigInt(topology.largeThreshold),
    account_type: topology.accountType,
    nodes: topology.nodes.map(({ name, labels, since, draining }) => ({
      name,
      labels,
      since,
      alive: alive.has(name),
      ...(draining && { draining }),
    })),
    shards: topology.shards.map((shard) => ({
      id: shard.id,
      pool: shard.pool,
      node: shard.node,
      assignment: shard.assignment,
      state: shard.state,
      replicas: shard.replicas,
      log_id: shard.logId,
      ...(shard.refolding && { refolding: true }),
      ...(shard.reason !== undefined && { reason: shard.reason }),
    })),
    owners: Object.fromEntries(
      POOLS.map((pool) => [pool, topology.owners[pool].map(({ from, to, shard }) => ({ from, to, shard }))]),
    ),
    draining: topology.draining.map(({ shard, pool, slots, sealedSequence }) => ({
      shard,
      pool,
      slots,
      sealed_sequence: sealedSequence,
    })),
    migrations: topology.migrations.map(({ id, pool, slots, source, target, state }) => ({
      id,
      pool,
      slots,
      source,
      target,
      state,
    })),
  };
}
