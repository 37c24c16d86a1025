import type { ConflictRow, LedgerRow, LogLedgerRow } from '../ports.js';
import type { Finding, FindingKind } from './findings.js';

/** A transaction as a shard's log holds it. */
export interface LoggedTransaction {
  readonly shard: number;
  /** Of the record that holds it. */
  readonly logId: string;
  readonly sequence: number;
  readonly index: number;
  readonly account: string;
  readonly id: string;
  readonly amount: bigint;
  readonly timestamp: number;
}

export interface Unmatched {
  readonly transaction: LoggedTransaction;
  /** The ledger row that names its very place and key, with another amount or timestamp; null: there is none. */
  readonly atPlace: LogLedgerRow | null;
}

export interface RangeComparison {
  /** Found in the ledger at their own place, with the same content. */
  readonly matched: number;
  /** The others: dropped at the fold, a conflict, changed, or lost. To be looked up by their key. */
  readonly unmatched: readonly Unmatched[];
  /** Ledger rows that name a place at which the log holds another transaction, or none. */
  readonly extra: readonly LogLedgerRow[];
}

/**
 * Compares a range of a shard's log with the ledger rows that name a place in it. `rows` may be of several log ids: of
 * the records' own, and of the one under which a repair has them folded again.
 */
export function compareRange(
  transactions: readonly LoggedTransaction[],
  rows: readonly LogLedgerRow[],
): RangeComparison {
  const places = new Map<string, LogLedgerRow[]>();
  for (const row of rows) {
    const key = placeOf(row);
    const there = places.get(key);
    if (there) there.push(row);
    else places.set(key, [row]);
  }
  const unmatched: Unmatched[] = [];
  let matched = 0;
  for (const transaction of transactions) {
    const there = places.get(placeOf(transaction)) ?? [];
    const at = there.findIndex((row) => row.account === transaction.account && row.id === transaction.id);
    const [row] = at < 0 ? [] : there.splice(at, 1);
    if (row && row.amount === transaction.amount && row.timestamp === transaction.timestamp) matched += 1;
    else unmatched.push({ transaction, atPlace: row ?? null });
  }
  return { matched, unmatched, extra: [...places.values()].flat() };
}

export type TransactionVerdict =
  /** In the ledger since another try, with the same amount: it has taken effect once. */
  | { readonly verdict: 'dropped' }
  | { readonly verdict: 'conflict' }
  | { readonly verdict: Extract<FindingKind, 'lost' | 'mismatched'>; readonly finding: Finding };

/**
 * A transaction that the ledger does not hold at its own place as the log has it. `row`: what the ledger has under its
 * key; `conflicts`: those kept at its place.
 */
export function judgeTransaction(
  { transaction, atPlace }: Unmatched,
  row: LedgerRow | null,
  conflicts: readonly ConflictRow[],
): TransactionVerdict {
  const { shard, sequence, index, account, id, amount } = transaction;
  const where = { shard, log_id: transaction.logId, sequence, index, account, id, amount: amount.toString() };
  const what = `transaction ${show(id)} of account ${show(account)} (record ${sequence} of shard ${shard})`;
  if (atPlace) {
    const [field, logged, kept] =
      atPlace.amount === amount
        ? ['timestamp', transaction.timestamp, atPlace.timestamp]
        : ['amount', amount, atPlace.amount];
    const message = `${what} has ${field} ${logged} in the log and ${kept} in the ledger`;
    return { verdict: 'mismatched', finding: { message, ...where, expected: atPlace.amount.toString() } };
  }
  if (row !== null && row.amount === amount) return { verdict: 'dropped' };
  if (conflicts.some((conflict) => conflict.amount === amount)) return { verdict: 'conflict' };
  if (row !== null) {
    const writer = row.shard === null ? 'the direct path' : `shard ${row.shard}`;
    const message =
      `${what} is ${amount} in the log and ${row.amount} in the ledger, where ${writer} wrote it, and no conflict ` +
      'is on record';
    return { verdict: 'mismatched', finding: { message, ...where, expected: row.amount.toString() } };
  }
  const message = `${what} is at or below the watermark, but neither in the ledger nor a conflict`;
  return { verdict: 'lost', finding: { message, ...where } };
}

/** A ledger row that names a place in a log at which the log does not hold it. */
export function judgeExtra(row: LogLedgerRow): Finding {
  const { shard, sequence, index, account, id } = row;
  return {
    message:
      `the ledger counts transaction ${show(id)} of account ${show(account)} from record ${sequence} of shard ` +
      `${shard}, place ${index}, where the log does not hold it`,
    shard,
    log_id: row.logId,
    sequence,
    index,
    account,
    id,
    amount: row.amount.toString(),
  };
}

function placeOf({ sequence, index }: { readonly sequence: number; readonly index: number }): string {
  return `${sequence}.${index}`;
}

function show(text: string): string {
  return JSON.stringify(text);
}
