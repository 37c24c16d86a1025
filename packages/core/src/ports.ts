/**
 * What the pure core needs from outside, as types only. `@spill/node` implements them.
 *
 * Transaction amounts and balances are in minor units. Sequences are JetStream's, from 1.
 */
import type { Pool } from './topology/pool.js';

/** How far a log is folded. Kept in the data table's own database, in the SQL transaction that folds. */
export interface Watermark {
  readonly shard: number;
  /** 32 hexadecimal digits. */
  readonly logId: string;
  /** The last folded record's sequence; 0 before the first fold. */
  readonly sequence: number;
  /** That record's dense number; 0 before the first fold. */
  readonly number: number;
  /** The first 16 bytes of SHA-256 of that record, in hexadecimal; 32 zeros before the first fold. */
  readonly hash: string;
  /** The highest assignment that ever folded. */
  readonly assignment: number;
}

/**
 * Rows to fold, in log order, as columns of one length.
 * `index` is the row's place among the accepted transactions of its record, from 0.
 */
export interface FoldRows {
  readonly length: number;
  readonly accounts: readonly string[];
  readonly ids: readonly string[];
  readonly amounts: readonly bigint[];
  readonly timestamps: readonly number[];
  readonly sequences: readonly number[];
  readonly indexes: readonly number[];
}

export interface FoldRequest {
  readonly shard: number;
  readonly pool: Pool;
  readonly assignment: number;
  /** The row that must be found; where it is not, nothing is folded. Sequence 0 also matches a missing row. */
  readonly from: Watermark;
  /** Where the watermark stands afterwards: always the whole range, whatever was set aside. */
  readonly to: { readonly sequence: number; readonly number: number; readonly hash: string };
  readonly rows: FoldRows;
}

export type SetAsideReason = 'row_locked' | 'row_missing' | 'constraint' | 'out_of_range' | 'sql_error';

export type FoldOutcome =
  | {
      readonly outcome: 'folded';
      readonly watermark: Watermark;
      /** Ledger rows inserted and added to their rows. */
      readonly applied: number;
      /** Already in the ledger with the same amount: taken effect before, dropped now. */
      readonly dropped: number;
      readonly setAside: number;
      readonly conflicts: number;
    }
  /** The row is another than `from`: the caller looks the row up in its own log and decides. Nothing was written. */
  | { readonly outcome: 'watermark_differs'; readonly watermark: Watermark | null }
  /** A higher assignment has folded: this process is stale and must exit. Nothing was written. */
  | { readonly outcome: 'superseded'; readonly watermark: Watermark }
  /** A table is locked as a whole: wait and try again. Nothing was written. */
  | { readonly outcome: 'blocked'; readonly detail: string };

export type LedgerState = 'applied' | 'set_aside' | 'written_off';

export interface LedgerRow {
  readonly account: string;
  readonly id: string;
  readonly amount: bigint;
  readonly timestamp: number;
  /** null for the direct path. */
  readonly shard: number | null;
  readonly sequence: number | null;
  readonly state: LedgerState;
  readonly reason: SetAsideReason | null;
  /** Where an operator moved it; null: its own account. */
  readonly appliedAccount: string | null;
}

/** The SQL part of a balance read, from one statement. */
export interface BalanceRow {
  readonly account: string;
  /** null: the data table has no such row. */
  readonly row: bigint | null;
  readonly setAside: bigint;
  /** Ids written by the direct path that a shard may hold too; readers leave them out of pending. */
  readonly directIds: readonly string[];
  /** Whether the ledger knows the account at all. */
  readonly known: boolean;
}

export interface BalanceSnapshot {
  readonly accounts: readonly BalanceRow[];
  /** Of every shard asked for; null where it has never folded. */
  readonly watermarks: ReadonlyMap<number, Watermark | null>;
}

export interface DirectTransaction {
  readonly account: string;
  readonly id: string;
  readonly amount: bigint;
  readonly timestamp: number;
}

export type DirectOutcome =
  | { readonly outcome: 'applied' }
  | { readonly outcome: 'duplicate'; readonly row: LedgerRow }
  | { readonly outcome: 'id_conflict'; readonly row: LedgerRow }
  /** The row is locked, missing or refused: never a rejection, since the same transaction may already be stored. */
  | { readonly outcome: 'unavailable'; readonly detail: string };

export interface SetAsideRow extends LedgerRow {
  readonly detail: string | null;
  readonly setAsideAt: string;
  readonly attempts: number;
}

export interface ConflictRow {
  readonly logId: string;
  readonly shard: number;
  readonly sequence: number;
  readonly index: number;
  readonly account: string;
  readonly id: string;
  readonly amount: bigint;
  readonly timestamp: number;
  /** The amount that took effect first. */
  readonly ledgerAmount: bigint;
  readonly state: 'open' | 'resolved';
}

/** Who does it and why: kept beside every operator's action. */
export interface OperatorNote {
  readonly who: string;
  readonly why: string;
}

export interface SchemaStatement {
  readonly sql: string;
  readonly why: string;
}

/** How the user's own table is laid out. Checked by `spill schema apply`. */
export interface TableMapping {
  /** Possibly schema-qualified, unquoted: `accounts` or `bank.accounts`. */
  readonly table: string;
  readonly idColumn: string;
  readonly idType: 'text' | 'varchar' | 'int4' | 'int8' | 'uuid';
  readonly balanceColumn: string;
  readonly balanceType: 'int8' | 'numeric';
  /** For numeric: how many decimal places one major unit has (2: cents). 0 for int8. */
  readonly minorUnits: number;
  /** Insert unknown accounts with balance 0 at the fold, instead of setting their transactions aside. */
  readonly createAccounts: boolean;
}

/**
 * The user's table and spill's own tables beside it, in one database.
 *
 * Every method rejects with `DataTableUnavailableError` when the database can't be reached or the connection breaks
 * (the outcome of a write is then unknown), and with `TransientDataTableError` for 40001, 40P01 and 55P03: repeat.
 */
export interface DataTable {
  /** One SQL transaction: watermark, accounts ascending, ledger. Exactly once, whatever is repeated. */
  fold(request: FoldRequest): Promise<FoldOutcome>;
  /** Ledger rows of these keys, in their order; null where there is none. */
  ledger(keys: readonly { account: string; id: string }[]): Promise<(LedgerRow | null)[]>;
  /** The direct path: row locked, ledger row and mark in the same SQL transaction. */
  direct(transaction: DirectTransaction): Promise<DirectOutcome>;
  /** One SQL statement on the primary: rows, set-aside sums, direct marks, watermarks of `shards`. */
  readBalances(accounts: readonly string[], shards: readonly number[]): Promise<BalanceSnapshot>;
  /** Ledger rows of an account ordered by (timestamp, bytes of id), strictly after `after`, plus all watermarks. */
  retrieve(query: LedgerQuery): Promise<{ rows: LedgerRow[]; watermarks: ReadonlyMap<number, Watermark | null> }>;
  watermark(shard: number): Promise<Watermark | null>;
  watermarks(): Promise<Watermark[]>;
  /** `spill repair` only: sets the watermark below the oldest kept record, under its new log id. */
  resetWatermark(watermark: Watermark, note: OperatorNote): Promise<void>;

  listSetAside(filter: { account?: string; limit: number }): Promise<SetAsideRow[]>;
  /** Tries set-aside rows again, one account a SQL transaction; `accounts` undefined: all that are due. */
  retrySetAside(filter: { accounts?: readonly string[]; dueOnly: boolean; limit: number }): Promise<{
    applied: number;
    remaining: number;
  }>;
  moveSetAside(key: { account: string; id: string }, toAccount: string, note: OperatorNote): Promise<LedgerRow>;
  writeOff(key: { account: string; id: string }, note: OperatorNote): Promise<LedgerRow>;
  listConflicts(filter: { state?: 'open' | 'resolved'; limit: number }): Promise<ConflictRow[]>;
  resolveConflict(key: { logId: string; sequence: number; index: number }, note: OperatorNote): Promise<ConflictRow>;
  /** Drops direct marks whose id every shard that may hold the account has folded past. */
  clearDirectMarks(before: number, watermarks: readonly Watermark[]): Promise<number>;

  /** What is wrong with the mapping or missing in the schema; empty: ready. Each a sentence naming the way out. */
  checkSchema(): Promise<string[]>;
  /** The DDL and GRANTs that `applySchema` would run, in order. */
  planSchema(): Promise<SchemaStatement[]>;
  applySchema(): Promise<void>;
  close(): Promise<void>;
}

export interface LedgerQuery {
  readonly account: string;
  readonly after?: { readonly timestamp: number; readonly id: string };
  /** Inclusive. */
  readonly from?: number;
  /** Exclusive. */
  readonly to?: number;
  readonly state?: LedgerState;
  readonly limit: number;
}
