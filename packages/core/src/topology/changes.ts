/**
 * The pure changes of the topology document. Each takes the document as read and returns the next, with the epoch
 * raised by one, or throws `TopologyConflictError` where the document does not allow it; the caller then writes it by
 * compare-and-set and starts again from a fresh read when that fails.
 */

import { shardOf } from './owners.js';
import { POOLS, type Pool } from './pool.js';
import { SLOT_COUNT } from './slot.js';
import type { NodeEntry, ShardEntry, SlotRange, Topology } from './topology.js';

export class TopologyConflictError extends Error {
  override readonly name = 'TopologyConflictError';
}

export interface FirstTopology {
  readonly node: NodeEntry;
  readonly shardCount: number;
  /** Shards are numbered above this: the highest that the data table knows, from a cluster before. Absent: 0. */
  readonly above?: number;
  readonly largeThreshold: bigint;
  readonly accountType: Topology['accountType'];
  readonly dataTable?: NonNullable<Topology['dataTable']>;
  readonly replicas: number;
  /** 64 hexadecimal digits. */
  readonly secret: string;
  /** One random log id (32 hexadecimal digits) a shard. */
  readonly logIds: readonly string[];
}

/** The first document: shards dealt to the pools in turn, each pool's slots split evenly among its shards. */
export function firstTopology(first: FirstTopology): Topology {
  if (first.shardCount < POOLS.length) {
    throw new TopologyConflictError(
      `shard_count is ${first.shardCount}; there must be at least ${POOLS.length}, one a pool`,
    );
  }
  const above = first.above ?? 0;
  const shards: ShardEntry[] = Array.from({ length: first.shardCount }, (_, i) => ({
    id: above + i + 1,
    pool: POOLS[i % POOLS.length] as Pool,
    node: first.node.name,
    assignment: 0,
    state: 'open',
    logId: first.logIds[i] as string,
    replicas: first.replicas,
  }));
  const owners = Object.fromEntries(
    POOLS.map((pool) => [pool, splitEvenly(shards.filter((shard) => shard.pool === pool).map((shard) => shard.id))]),
  ) as Record<Pool, SlotRange[]>;
  return {
    format: 1,
    epoch: 1,
    hash: 'xxh64',
    slotCount: SLOT_COUNT,
    largeThreshold: first.largeThreshold.toString(),
    accountType: first.accountType,
    ...(first.dataTable && { dataTable: first.dataTable }),
    secret: first.secret,
    nextShard: above + first.shardCount + 1,
    nextMigration: 1,
    nodes: [first.node],
    shards,
    owners,
    draining: [],
    migrations: [],
  };
}

function splitEvenly(shards: readonly number[]): SlotRange[] {
  return shards.map((shard, i) => ({
    from: Math.floor((i * SLOT_COUNT) / shards.length),
    to: Math.floor(((i + 1) * SLOT_COUNT) / shards.length),
    shard,
  }));
}

/**
 * A process is about to be started for a shard: its assignment grows. Only the node that the topology names may.
 * `atLeast`: the new assignment is above this (the highest seen in a damaged log).
 */
export function raiseAssignment(topology: Topology, shard: number, node: string, atLeast = 0): Topology {
  const entry = requireShard(topology, shard);
  if (entry.node !== node) {
    throw new TopologyConflictError(`shard ${shard} is assigned to node ${entry.node}, not to ${node}`);
  }
  return withShard(topology, { ...entry, assignment: Math.max(entry.assignment, atLeast) + 1 });
}

/** Changes fields of a shard's entry; the caller's `expect` must still hold of it. */
export function changeShard(
  topology: Topology,
  shard: number,
  change: Partial<
    Pick<ShardEntry, 'state' | 'reason' | 'refolding' | 'logId' | 'ledgerId' | 'assignment' | 'replicas' | 'node'>
  >,
): Topology {
  const entry = requireShard(topology, shard);
  if (entry.state === 'retired') throw new TopologyConflictError(`shard ${shard} is retired, which is final`);
  if (change.assignment !== undefined && change.assignment < entry.assignment) {
    throw new TopologyConflictError(
      `shard ${shard} has assignment ${entry.assignment}, which fences every process before it; ${change.assignment} is lower`,
    );
  }
  const next: ShardEntry = { ...entry, ...change };
  if (change.state && change.state !== 'damaged' && change.state !== 'failed' && !('reason' in change)) {
    const { reason: _, ...rest } = next;
    return withShard(topology, rest);
  }
  return withShard(topology, next);
}

/** Adds a node or renews its entry. */
export function registerNode(topology: Topology, node: NodeEntry): Topology {
  const others = topology.nodes.filter((entry) => entry.name !== node.name);
  const nodes = [...others, node].sort((a, b) => (a.name < b.name ? -1 : 1));
  return { ...topology, epoch: topology.epoch + 1, nodes };
}

function withShard(topology: Topology, entry: ShardEntry): Topology {
  const shards = topology.shards.map((shard) => (shard.id === entry.id ? entry : shard));
  return { ...topology, epoch: topology.epoch + 1, shards };
}

function requireShard(topology: Topology, shard: number): ShardEntry {
  const entry = shardOf(topology, shard);
  if (!entry) throw new TopologyConflictError(`there is no shard ${shard}`);
  return entry;
}
