import { changeShard, TopologyConflictError } from './changes.js';
import { shardOf } from './owners.js';
import type { ShardLifecycle, Topology } from './topology.js';

export interface Repaired {
  /** The log id under which the log goes on. */
  readonly logId: string;
  /** The new assignment is above this. */
  readonly assignmentAbove: number;
  /** The new epoch is above this: the highest that the log has acted on. */
  readonly epochAbove: number;
  /** `closed` where the log had been ended. */
  readonly state: Extract<ShardLifecycle, 'open' | 'closed'>;
}

/**
 * A damaged shard whose loss an operator has accepted serves again, under a new log id. Its assignment grows, so that
 * the process which waits in the damaged state makes room for one that opens the log.
 */
export function repairedShard(topology: Topology, shard: number, repaired: Repaired): Topology {
  const entry = shardOf(topology, shard);
  if (entry?.state !== 'damaged') {
    throw new TopologyConflictError(`shard ${shard} is ${entry?.state ?? 'not there'}, only a damaged one is repaired`);
  }
  const next = changeShard(topology, shard, {
    state: repaired.state,
    logId: repaired.logId,
    assignment: Math.max(entry.assignment, repaired.assignmentAbove) + 1,
  });
  return { ...next, epoch: Math.max(next.epoch, repaired.epochAbove + 1) };
}
