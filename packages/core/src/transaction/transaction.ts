/**
 * A change to one account's balance.
 *
 * - `account`: 1 to 128 bytes of UTF-8; `id`: 1 to 64 bytes of UTF-8. Their pair is the transaction's identity.
 * - `amount`: signed 64-bit integer in the account's minor unit, never 0, never −2^63.
 * - `timestamp`: microseconds since 1970-01-01 UTC, the moment of the client's first try; a safe integer.
 */
export interface Transaction {
  readonly account: string;
  readonly id: string;
  readonly amount: bigint;
  readonly timestamp: number;
}

/** The identity of a transaction, everywhere: two accounts may use the same id. */
export interface TransactionKey {
  readonly account: string;
  readonly id: string;
}

export const ACCOUNT_BYTES_MAX = 128;
export const ID_BYTES_MAX = 64;
export const AMOUNT_MAX = 2n ** 63n - 1n;
export const BATCH_TRANSACTIONS_MAX = 8192;
