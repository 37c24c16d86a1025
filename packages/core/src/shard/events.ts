import type { SlotSpan } from '../topology/topology.js';
import type { Batch } from '../transaction/batch.js';
import type { LocatedKeys } from './located-keys.js';

/** The set of transactions that a shard knows for the slots of a migration, at and above a horizon. */
export interface Certificate {
  /** Microseconds. */
  readonly horizon: number;
  readonly count: number;
  /** Of `RowDigest`: 32 hexadecimal digits. */
  readonly digest: string;
}

/** Slots for which a shard has stopped accepting, while a migration takes them to another. */
export interface Seal extends Certificate {
  readonly migration: number;
  readonly slots: readonly SlotSpan[];
  /** Of the record that holds the seal. */
  readonly sequence: number;
}

/** A migration towards a shard, as its log knows it. */
export interface AdoptionMark {
  readonly migration: number;
  readonly slots: readonly SlotSpan[];
  /** null: chunks are still being adopted. */
  readonly ready: Certificate | null;
}

export type MigrationOutcome = 'committed' | 'aborted';

/** Transactions with a timestamp below `below` in records up to `upTo` are forgotten. */
export interface Forgotten {
  readonly below: number;
  readonly upTo: number;
}

/** What a shard must remember besides its known transactions: small enough to be written whole, again and again. */
export interface SmallState {
  /** Microseconds. Unknown transactions below it are not stored; it only grows, but for an operator's `horizon_set`. */
  readonly horizon: number;
  /** Transactions with a timestamp below `forgottenBelow` in records up to `foldedUpTo` are forgotten. */
  readonly forgottenBelow: number;
  readonly foldedUpTo: number;
  /**
   * Forgotten besides, by earlier events that reached further: their horizon (before a `horizon_set` took it back) or
   * their fold (before the data table was set back). What is forgotten stays forgotten, since its memory may be gone.
   */
  readonly forgottenAlso?: readonly Forgotten[];
  /** The highest epoch of the topology that the shard has acted on. */
  readonly epoch: number;
  readonly seals: readonly Seal[];
  /** Migrations towards this shard whose outcome is not logged yet. */
  readonly adoptions: readonly AdoptionMark[];
  /** The newest migrations whose outcome is logged, so that a late message finds them ended. */
  readonly settled: readonly number[];
  readonly closed: boolean;
}

/** Transactions taken over from another shard's log: a batch, and where each was stored first. */
export interface Adopted {
  readonly type: 'adopted';
  readonly migration: number;
  readonly slots: readonly SlotSpan[];
  readonly batch: Batch;
  /** One a row. */
  readonly shards: Uint32Array;
  readonly sequences: Float64Array;
}

/** Transactions that the shard accepted: a batch, and which of its rows. */
export interface Stored {
  readonly type: 'stored';
  readonly batch: Batch;
  /** One bit a row, ⌈rows / 8⌉ bytes; null: every row. Whatever reads the event sees only the accepted ones. */
  readonly accepted: Uint8Array | null;
  readonly count: number;
  /** As `decide` worked them out; in no record. */
  readonly keys?: LocatedKeys;
}

export type ShardEvent =
  /** Record 1 of every log. */
  | { readonly type: 'created'; readonly shard: number; readonly small: SmallState }
  /**
   * A process took the log over; it fences every earlier one. Written before the log is read, so it can carry on only
   * what the last record's header says: chain, sums and `replayFrom`.
   */
  | { readonly type: 'opened'; readonly assignment: number }
  | Stored
  | { readonly type: 'forgotten'; readonly horizon: number; readonly foldedUpTo: number }
  /** The small state whole: recovery needs nothing of it from before. */
  | { readonly type: 'checkpoint'; readonly small: SmallState }
  /** Acted on a newer topology. */
  | { readonly type: 'epoch'; readonly epoch: number }
  | ({ readonly type: 'sealed'; readonly migration: number; readonly slots: readonly SlotSpan[] } & Certificate)
  | Adopted
  /** Everything of the migration is adopted, up to the source's seal. */
  | ({ readonly type: 'ready'; readonly migration: number; readonly slots: readonly SlotSpan[] } & Certificate)
  /** The topology's word on a migration, in the logs of both sides: unseals a source, drops what a target adopted. */
  | { readonly type: 'settled'; readonly migration: number; readonly outcome: MigrationOutcome }
  | { readonly type: 'closed' }
  | { readonly type: 'horizon_set'; readonly horizon: number; readonly who: string; readonly why: string }
  /** An operator accepted a loss: the log goes on under a new id. */
  | {
      readonly type: 'rebased';
      readonly formerLogId: string;
      readonly assignment: number;
      readonly lost: string;
      readonly who: string;
      readonly why: string;
      readonly small: SmallState;
    };

export function isAccepted({ accepted }: Stored, row: number): boolean {
  return accepts(accepted, row);
}

/** Whether a bitmap has a row; null: all rows. */
export function accepts(bitmap: Uint8Array | null, row: number): boolean {
  return bitmap === null || (((bitmap[row >> 3] as number) >> (row & 7)) & 1) === 1;
}
