import { beginClosing, type ShardEntry, SpillError, shardOf, TopologyConflictError } from '@spill/core';
import type { TopologyStore } from '../nats/topology-store.js';

/** The pool it belongs to, and the state it is in. */
export type DeletedShard = Pick<ShardEntry, 'pool' | 'state'>;

/**
 * Begins to close a shard; the keeper leads it to its end. One that closes already, or has ended, stays as it is.
 *
 * @throws SpillError `not_found`, or `conflict` where it is damaged or the last of its pool.
 */
export async function deleteShard(topology: TopologyStore, shard: number): Promise<DeletedShard> {
  try {
    const stored = await topology.change((newest) => {
      const entry = shardOf(newest, shard);
      if (!entry) throw new SpillError('not_found', `there is no shard ${shard}; spill shard list shows them all`);
      return ['closing', 'closed', 'retired'].includes(entry.state) ? null : beginClosing(newest, shard);
    });
    return shardOf(stored.topology, shard) as ShardEntry;
  } catch (error) {
    if (error instanceof TopologyConflictError) throw new SpillError('conflict', error.message, { cause: error });
    throw error;
  }
}
