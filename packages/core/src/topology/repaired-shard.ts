import { TopologyConflictError } from './changes.js';
import { shardOf } from './owners.js';
import type { ShardEntry, ShardLifecycle, Topology } from './topology.js';

export interface Repaired {
  /** The log id under which the log goes on. */
  readonly logId: string;
  /** The ledger that all of it is folded into. */
  readonly ledgerId: string;
  /** The new assignment is above this. */
  readonly assignmentAbove: number;
  /** The new epoch is above this: the highest that the log has acted on. */
  readonly epochAbove: number;
  /** The sequence of the record that puts the loss on record, the last one of the log. */
  readonly sequence: number;
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
  // It may have been retired before.
  const { reason: _, retiredAt: _retiredAt, logDeleted: _logDeleted, ...kept } = entry;
  const { logId, ledgerId, state, sequence } = repaired;
  const assignment = Math.max(entry.assignment, repaired.assignmentAbove) + 1;
  const { closedSequence: _closedSequence, drainedTo, ...open } = { ...kept, logId, ledgerId, state, assignment };
  // What is kept is folded again, and ends with that record: beyond it there is nothing to be drained of.
  const next: ShardEntry = {
    ...open,
    ...(drainedTo !== undefined && { drainedTo: Math.min(drainedTo, sequence) }),
    ...(state === 'closed' && { closedSequence: sequence }),
  };
  return {
    ...topology,
    epoch: Math.max(topology.epoch, repaired.epochAbove) + 1,
    shards: topology.shards.map((other) => (other.id === shard ? next : other)),
    // What a commit under way rests on, its seal or what was adopted, may be among what was lost.
    migrations: topology.migrations.map((migration) =>
      migration.state === 'copying' && (migration.source === shard || migration.target === shard)
        ? { ...migration, state: 'aborted' as const }
        : migration,
    ),
    draining: topology.draining.map((draining) =>
      draining.shard === shard
        ? { ...draining, sealedSequence: Math.min(draining.sealedSequence, sequence) }
        : draining,
    ),
  };
}
