import type { ShardStatus } from '@spill/core';
import type { HeartbeatWitness } from './messages.js';

/** null: the shard has not yet stored or read a record. */
export function witnessOf(status: ShardStatus, at: Date): HeartbeatWitness | null {
  if (status.sequence === 0) return null;
  const { logId, assignment, sequence, number, hash } = status;
  return { logId, assignment, sequence, number, hash, at: at.toISOString() };
}

/**
 * The one that says more about the same log: the higher assignment, then the higher sequence. Of two logs (a repair
 * gives a new id) the one written under the higher assignment.
 */
export function newerWitness(a: HeartbeatWitness | null, b: HeartbeatWitness | null): HeartbeatWitness | null {
  if (!a || !b) return a ?? b;
  if (a.assignment !== b.assignment) return a.assignment > b.assignment ? a : b;
  return a.sequence >= b.sequence ? a : b;
}
