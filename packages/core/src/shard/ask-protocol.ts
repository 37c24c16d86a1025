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
  | { readonly ask: 'status' };

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
  | { readonly answer: 'get'; readonly transaction: ShardTransaction | null; readonly epoch: number }
  | { readonly answer: 'retrieve'; readonly transactions: readonly ShardTransaction[]; readonly epoch: number }
  | { readonly answer: 'fold'; readonly folded: number; readonly setAside: number }
  | { readonly answer: 'status'; readonly status: ShardStatus }
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
}
