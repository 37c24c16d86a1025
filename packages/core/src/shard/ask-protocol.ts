import type { SourceReport, TargetReport } from '../supervisor/migration-step.js';

/**
 * Questions to a shard, on `spill.shard.<id>.<assignment>.ask`: MessagePack maps both ways (msgpackr, no records).
 * Amounts travel as decimal strings. Every answer is from acknowledged records only.
 */
export type ShardQuestion =
  /** Sums beyond exactly `watermark`; `role` owner: refused with `moved` where sealed or a higher epoch is known. */
  | {
      readonly ask: 'pending';
      readonly role: 'owner' | 'draining';
      readonly epoch: number;
      readonly logId: string;
      readonly watermark: number;
      readonly accounts: readonly string[];
      /** Per account: ids that count in the ledger already (direct marks), to be left out. */
      readonly without: readonly (readonly string[])[];
    }
  | {
      readonly ask: 'get';
      readonly role: 'owner' | 'draining';
      readonly epoch: number;
      readonly account: string;
      readonly id: string;
    }
  /** Transactions of the account beyond `watermark`, ordered by (timestamp, bytes of id), strictly after `after`. */
  | {
      readonly ask: 'retrieve';
      readonly role: 'owner' | 'draining';
      readonly epoch: number;
      readonly account: string;
      readonly watermark: number;
      readonly after: { readonly timestamp: number; readonly id: string } | null;
      readonly from: number | null;
      readonly to: number | null;
      readonly limit: number;
    }
  /** Fold everything acknowledged before this question; answered when it is folded or set aside. */
  | { readonly ask: 'fold' }
  | { readonly ask: 'status' }
  /** From the target of a migration to its source: chunk `chunk` of stream `stream` (0, 0: a new stream). */
  | {
      readonly ask: 'copy';
      readonly migration: number;
      readonly epoch: number;
      readonly stream: number;
      readonly chunk: number;
    }
  /** From the supervisor; each may be repeated and may come late. */
  | { readonly ask: 'migration'; readonly migration: number; readonly epoch: number; readonly step: MigrationAsk }
  /** Append `closed`, once the topology at `epoch` names the shard no more. */
  | { readonly ask: 'close'; readonly epoch: number };

export type MigrationAsk =
  | { readonly step: 'report' }
  /** To the target: copy what the source has, for a while. */
  | { readonly step: 'copy' }
  /** To the source. */
  | { readonly step: 'seal' }
  /** To the target. */
  | { readonly step: 'finish'; readonly sealedSequence: number; readonly horizon: number }
  /** To both: take up the topology's word on it. */
  | { readonly step: 'settle' };

/** A piece of what a source knows for moving slots, as columns; the transactions in a batch. */
export interface CopyChunk {
  /** Identifies the source's process and its run over its ids; another number: begin anew. */
  readonly stream: number;
  readonly chunk: number;
  /** The horizon that the source keeps still while it copies. Rows below it are not in the stream. */
  readonly horizon: number;
  /** Every row of records up to this sequence has been sent with this chunk; 0: not everything yet. */
  readonly to: number;
  /** Entries, of whatever slots, that the source has still to go through. */
  readonly left: number;
  readonly batch: Uint8Array;
  /** u32 and f64 a row, little-endian. */
  readonly shards: Uint8Array;
  readonly sequences: Uint8Array;
}

export interface ShardTransaction {
  readonly id: string;
  readonly amount: string;
  readonly timestamp: number;
  readonly sequence: number;
}

export type ShardAnswer =
  /** `known[i]`: whether the shard holds anything of account i beyond the watermark. */
  | {
      readonly answer: 'pending';
      readonly sums: readonly string[];
      readonly known: readonly boolean[];
      readonly epoch: number;
    }
  /** Of records up to `completeAbove` the shard may have forgotten transactions: they are folded. */
  | {
      readonly answer: 'get';
      readonly transaction: ShardTransaction | null;
      readonly completeAbove: number;
      readonly epoch: number;
    }
  | { readonly answer: 'retrieve'; readonly transactions: readonly ShardTransaction[]; readonly epoch: number }
  | { readonly answer: 'fold'; readonly folded: number; readonly setAside: number }
  | { readonly answer: 'status'; readonly status: ShardStatus }
  | { readonly answer: 'copy'; readonly piece: CopyChunk }
  | { readonly answer: 'migration'; readonly source: SourceReport | null; readonly target: TargetReport | null }
  | { readonly answer: 'close'; readonly sequence: number }
  /** Not the owner, or it knows a higher epoch: read the topology again. */
  | { readonly answer: 'moved'; readonly epoch: number }
  /** Another watermark than the shard can answer for: read SQL again. */
  | { readonly answer: 'again' }
  | { readonly answer: 'unavailable'; readonly message: string };

/** What a shard says of itself; also its heartbeat to the node, once a second. */
export interface ShardStatus {
  readonly shard: number;
  readonly assignment: number;
  readonly logId: string;
  readonly pid: number;
  /** Of its machine, microseconds since 1970. */
  readonly clock: number;
  readonly state: 'opening' | 'serving' | 'fold_only' | 'refusing' | 'draining' | 'damaged';
  readonly reason: string | null;
  readonly epoch: number;
  readonly sequence: number;
  readonly number: number;
  readonly hash: string;
  readonly watermark: number | null;
  readonly horizon: number;
  readonly known: number;
  readonly pending: number;
  readonly pendingBytes: number;
  /** Accepted since the process started, for rates. */
  readonly accepted: number;
  readonly queued: number;
  readonly commitP50Ms: number;
  readonly commitP99Ms: number;
  /** Age of the oldest unfolded record, milliseconds; 0: nothing pending. */
  readonly foldLagMs: number;
  readonly foldError: string | null;
  readonly setAside: number;
  readonly conflicts: number;
  readonly replayMs: number;
  /** The heaviest slots and accounts, in transactions a second. */
  readonly hotSlots: readonly (readonly [slot: number, rate: number])[];
  readonly hotAccounts: readonly (readonly [account: string, rate: number])[];
}
