import type { AcceptedLoss, Finding, FindingKind } from '@spill/core';

/** What one shard's log came to. */
export interface ShardReport {
  readonly shard: number;
  readonly log_id: string;
  /** The records that were read; `to` 0: none. */
  readonly from: number;
  readonly to: number;
  readonly watermark: number;
  /** Transactions compared one by one. */
  readonly checked: number;
  /** Transactions beyond the watermark. */
  readonly pending: number;
  /** Folded and purged since: proved by running count and sum only. */
  readonly by_sum: number;
}

/**
 * The reply of `spill.supervisor.verify`: counts of each kind and the first 100 examples of each; what is on record as
 * an accepted loss stands apart and is in no count.
 */
export interface VerifyReport extends Readonly<Record<FindingKind, number>> {
  /** Transactions of the logs that were compared with the database. */
  readonly checked: number;
  readonly examples: Readonly<Record<FindingKind, readonly Finding[]>>;
  /** Nothing lost, duplicated, mismatched or damaged, and with `exclusive` no drift. */
  readonly ok: boolean;
  readonly pending: number;
  readonly accounts: number;
  readonly accepted_losses: readonly (AcceptedLoss & { readonly shard: number })[];
  readonly shards: readonly ShardReport[];
}
