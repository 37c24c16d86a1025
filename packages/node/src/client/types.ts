import type { SpillError } from '@spill/core';

/** A transaction to submit. */
export interface TransactionInput {
  /** 1 to 128 bytes of UTF-8. */
  readonly account: string;
  /**
   * 1 to 64 bytes of UTF-8; together with the account the transaction's identity. Give one that a retry after a crash
   * of your own process would give again; without one, the client makes one, which only covers its own retries.
   */
  readonly id?: string;
  /** Minor units, signed, not 0; a number must be a safe integer. */
  readonly amount: bigint | number;
  /** Microseconds since 1970-01-01 UTC, the moment of your first try; now by default. */
  readonly timestamp?: bigint | number;
}

/** In minor units. */
export interface Balance {
  readonly account: string;
  /** `row` + `setAside` + `pending`. */
  readonly balance: bigint;
  /** As the data table has it; null: it has no such row. */
  readonly row: bigint | null;
  readonly setAside: bigint;
  readonly pending: bigint;
}

/** In the place of an account whose balance can't be told. */
export interface BalanceError {
  readonly account: string;
  readonly error: SpillError;
}

export interface AccountTransaction {
  readonly id: string;
  readonly amount: bigint;
  /** Microseconds since 1970-01-01 UTC. */
  readonly timestamp: number;
  /** null, as `sequence`: written to the data table directly. */
  readonly shard: number | null;
  readonly sequence: number | null;
  readonly state: 'pending' | 'folded' | 'set_aside' | 'written_off';
}

export interface RetrieveQuery {
  readonly account: string;
  /** 1 to 1,000; 100 by default. */
  readonly limit?: number;
  /** The `next` of the page before. */
  readonly after?: string;
  /** Microseconds, inclusive. */
  readonly from?: bigint | number;
  /** Microseconds, exclusive. */
  readonly to?: bigint | number;
  readonly state?: 'all' | 'pending' | 'folded' | 'set_aside';
}

export interface TransactionList {
  readonly account: string;
  /** By timestamp, then by the bytes of the id. */
  readonly transactions: readonly AccountTransaction[];
  /** Hand it back as `after` for the next page; null on the last one. */
  readonly next: string | null;
}
