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

/** How far a shard's log is folded. */
export type FoldedTo = Pick<Watermark, 'shard' | 'logId' | 'sequence'>;

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
  /** A missing row matches only in this ledger; null: in any. */
  readonly ledgerId: string | null;
  /** Where the watermark stands afterwards: always the whole range, whatever was set aside. */
  readonly to: { readonly sequence: number; readonly number: number; readonly hash: string };
  readonly rows: FoldRows;
  /** Parts of it can be folded by themselves: where one of very many accounts refuses, it is looked for in those. */
  readonly divisible?: boolean;
  /**
   * Touch no account: every row is set aside as `row_locked`. For the smallest unit that met transient errors too
   * often, so that a fold never stops for one account.
   */
  readonly setAsideAll?: boolean;
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
  /**
   * A table is locked as a whole, or a table or a privilege is missing: wait and try again, and say `detail` to
   * `doctor`. It belongs to no single account, so nothing is set aside. Nothing was written.
   */
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
  /** Why it was set aside; kept when it is applied or written off later. null: never set aside. */
  readonly reason: SetAsideReason | null;
  /** Where an operator moved it; null: its own account. */
  readonly appliedAccount: string | null;
}

/** The SQL part of a balance read, from one statement. */
export interface BalanceRow {
  readonly account: string;
  /** null: the data table has no such row, or `rowProblem` says why its balance can't be told. */
  readonly row: bigint | null;
  /** The row is there, but its balance is NULL, NaN or no whole number of minor units: a sentence. */
  readonly rowProblem: string | null;
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
  /** The database's own words. */
  readonly detail: string | null;
  /** ISO 8601, UTC. */
  readonly setAsideAt: string;
  /** Failed retries since. */
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
  /** The amount that took effect first; null where there is none: the text can't be stored in the ledger (`detail`). */
  readonly ledgerAmount: bigint | null;
  readonly detail: string | null;
  readonly state: 'open' | 'resolved';
}

/** Who does it and why: kept beside every operator's action. */
export interface OperatorNote {
  readonly who: string;
  readonly why: string;
}

/** One operator's action, as kept. */
export interface OperatorAction extends OperatorNote {
  /** ISO 8601, UTC. */
  readonly at: string;
  readonly action: 'move' | 'write_off' | 'resolve_conflict' | 'reset_watermark';
  /** What it was done to, in words that name the key. */
  readonly subject: string;
}

/** A number of transactions and the sum of their amounts. Sums may exceed 64 bits. */
export interface CountAndSum {
  readonly count: bigint;
  readonly sum: bigint;
}

/**
 * What the folds of one log did since its watermark row began (at `baseSequence`: 0, or where a repair set it).
 * The log's own running count and sum between `baseSequence` and `watermark.sequence` equal
 * folded + dropped + conflicts, and `folded` equals what the ledger holds of (shard, log id).
 */
export interface FoldTotals {
  readonly watermark: Watermark;
  readonly baseSequence: number;
  /** Ledger rows inserted, whether applied or set aside. */
  readonly folded: CountAndSum;
  readonly dropped: CountAndSum;
  readonly conflicts: CountAndSum;
  /** false: a log id that a repair ended; its last watermark and its totals are kept. */
  readonly current: boolean;
}

/** Ledger rows of one log, counted in the ledger itself. */
export interface LedgerTotals {
  /** null, null: the direct path. */
  readonly shard: number | null;
  readonly logId: string | null;
  readonly rows: CountAndSum;
  readonly firstSequence: number | null;
  readonly lastSequence: number | null;
}

/**
 * Everything the database knows of one account, in minor units, from one snapshot.
 *
 * By the account that clients named: `ownApplied` + `movedOut` + `setAside` + `writtenOff` = the ledger's rows.
 * By the row that was changed: `row` = `opening` + `ownApplied` + `movedIn` + drift.
 */
export interface AccountTotals {
  readonly account: string;
  /** Balance before spill's first change; null: spill has not changed the row yet, or it held a fraction. */
  readonly opening: bigint | null;
  readonly row: bigint | null;
  readonly rowProblem: string | null;
  /** Added to its own row, the direct path included. */
  readonly ownApplied: CountAndSum;
  /** The part of `ownApplied` that came the direct path. */
  readonly direct: CountAndSum;
  /** Of other accounts, moved here by an operator. */
  readonly movedIn: CountAndSum;
  /** Of this account, applied to another by an operator. */
  readonly movedOut: CountAndSum;
  readonly setAside: CountAndSum;
  readonly writtenOff: CountAndSum;
  /** In no balance. */
  readonly conflicts: CountAndSum;
  /** row − opening − ownApplied − movedIn: what other code did to the row. null where row or opening is unknown. */
  readonly drift: bigint | null;
}

/** A ledger row with its place in the log, for comparing log and ledger. */
export interface LogLedgerRow extends LedgerRow {
  readonly logId: string;
  readonly sequence: number;
  readonly shard: number;
  readonly index: number;
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
  /**
   * The direct path: row locked, ledger row and mark in the same SQL transaction. `unavailable` in a ledger that
   * `isLedger` does not know by its id: one that was made anew would take a second time what the one before holds.
   */
  direct(transaction: DirectTransaction, isLedger: (ledgerId: string) => boolean): Promise<DirectOutcome>;
  /** One SQL statement on the primary: rows, set-aside sums, direct marks, watermarks of `shards`. */
  readBalances(accounts: readonly string[], shards: readonly number[]): Promise<BalanceSnapshot>;
  /** Ledger rows of an account ordered by (timestamp, bytes of id), strictly after `after`, plus all watermarks. */
  retrieve(query: LedgerQuery): Promise<{ rows: LedgerRow[]; watermarks: ReadonlyMap<number, Watermark | null> }>;
  watermark(shard: number): Promise<Watermark | null>;
  watermarks(): Promise<Watermark[]>;
  /** The id of the ledger, 32 hexadecimal digits, random, made with spill's schema; and a shard's row, of one moment. */
  ledgerOf(shard: number): Promise<{ readonly ledgerId: string; readonly watermark: Watermark | null }>;
  /** The highest shard that has ever folded here, of whatever cluster; 0: none has, or spill has no tables here yet. */
  highestShard(): Promise<number>;
  /**
   * `spill repair` only: sets the watermark below the oldest kept record, under its new log id. Resolves with the
   * ledger's id: `renew` gives it a new one, so that a dump from before this is known for another ledger's. Rejects with
   * `OperatorActionError` where the ledger is another than `ledger.id`.
   */
  resetWatermark(
    watermark: Watermark,
    ledger: { readonly id: string; readonly renew: boolean },
    note: OperatorNote,
  ): Promise<string>;

  listSetAside(filter: { account?: string; limit: number }): Promise<SetAsideRow[]>;
  /** Tries set-aside rows again, one account a SQL transaction; `accounts` undefined: all that are due. */
  retrySetAside(filter: { accounts?: readonly string[]; dueOnly: boolean; limit: number }): Promise<{
    applied: number;
    remaining: number;
  }>;
  /** Accounts with set-aside rows that are due, ascending by bytes, strictly after `after`. */
  dueSetAsideAccounts(query: { after?: string; limit: number }): Promise<string[]>;
  /** Rejects with `OperatorActionError`: no such row, not set aside any more, or the other row refused or locked. */
  moveSetAside(key: { account: string; id: string }, toAccount: string, note: OperatorNote): Promise<LedgerRow>;
  /** Rejects with `OperatorActionError`. The amount is then in no balance. */
  writeOff(key: { account: string; id: string }, note: OperatorNote): Promise<LedgerRow>;
  listConflicts(filter: { state?: 'open' | 'resolved'; limit: number }): Promise<ConflictRow[]>;
  resolveConflict(key: { logId: string; sequence: number; index: number }, note: OperatorNote): Promise<ConflictRow>;
  /** The newest first. */
  listOperatorActions(limit: number): Promise<OperatorAction[]>;
  /**
   * Drops direct marks set before `before` (microseconds, the database's clock). The caller takes for it the oldest of
   * the times up to which every shard that may hold an account has folded, less `dedupe_window` and the clock skew.
   * `watermarks` are those it took the times from: where one of them is not reached any more (a database set back),
   * nothing is dropped. Returns how many were.
   */
  clearDirectMarks(before: number, watermarks: readonly FoldedTo[]): Promise<number>;

  /** For `verify`: per account, ascending by bytes, strictly after `after`; one snapshot a call. */
  accountTotals(query: { after?: string; accounts?: readonly string[]; limit: number }): Promise<{
    accounts: AccountTotals[];
    watermarks: ReadonlyMap<number, Watermark>;
  }>;
  /** For `verify`: what folds say they did, a log id a row. */
  foldTotals(): Promise<FoldTotals[]>;
  /** For `verify`: what the ledger holds, a log id a row. Reads the whole ledger. */
  ledgerTotals(): Promise<LedgerTotals[]>;
  /**
   * For `verify`: ledger rows of a shard's log with `fromSequence` ≤ sequence ≤ `toSequence`, by (sequence, index),
   * strictly after `after`.
   */
  ledgerOfLog(query: {
    shard: number;
    logId: string;
    fromSequence: number;
    toSequence: number;
    after?: { readonly sequence: number; readonly index: number };
    limit: number;
  }): Promise<LogLedgerRow[]>;
  /** For `verify`: conflicts of a shard's log in a range of sequences, both inclusive. */
  conflictsOfLog(query: {
    shard: number;
    logId: string;
    fromSequence: number;
    toSequence: number;
  }): Promise<ConflictRow[]>;

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
