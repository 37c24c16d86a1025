import {
  type DataTable,
  type DirectOutcome,
  SpillError,
  type StampedTransaction,
  type SubmitResult,
} from '@spill/core';
import { byDeadline } from './by-deadline.js';
import { idConflictError, overloadedError } from './submit-errors.js';
import type { DirectPath } from './submitter.js';

/** At once, per account: the hot row's lock lets only one of them work, the others hold connections. */
const AT_ONCE_PER_ACCOUNT_MAX = 4;
const AT_ONCE_MAX = 32;
const RETRY_AFTER_MS = 200;

/** As the shards have them, microseconds. */
export interface DirectPathTimes {
  readonly dedupeWindowMicros: number;
  readonly maxClockSkewMicros: number;
}

/**
 * Writes to the data table itself, with the row locked. It never rejects for the row's sake, since the same
 * transaction may already be stored in a log that nobody serves now.
 */
export function directPathTo(dataTable: Pick<DataTable, 'direct' | 'ledger'>, times: DirectPathTimes): DirectPath {
  const perAccount = new Map<string, number>();
  let total = 0;
  const write = async (transaction: StampedTransaction, isLedger: (id: string) => boolean): Promise<SubmitResult> =>
    (await refuseByTime(transaction, dataTable, times)) ??
    resultOf(transaction, await dataTable.direct(transaction, isLedger));
  /** A place is given back when the database is done with it, which may be after the deadline. */
  const taken = async (account: string, work: Promise<SubmitResult>): Promise<SubmitResult> => {
    perAccount.set(account, (perAccount.get(account) ?? 0) + 1);
    total += 1;
    try {
      return await work;
    } finally {
      total -= 1;
      const left = (perAccount.get(account) as number) - 1;
      if (left === 0) perAccount.delete(account);
      else perAccount.set(account, left);
    }
  };
  return async (transaction, remainingMs, isLedger) => {
    const { account, id } = transaction;
    const deadline = performance.now() + remainingMs;
    if ((perAccount.get(account) ?? 0) >= AT_ONCE_PER_ACCOUNT_MAX || total >= AT_ONCE_MAX) {
      const error = overloadedError('no shard serves this account, and too many wait for its row', RETRY_AFTER_MS);
      return { id, status: 'rejected', error };
    }
    try {
      return await byDeadline(deadline, taken(account, write(transaction, isLedger)), lateError);
    } catch (error) {
      if (error instanceof SpillError) return { id, status: 'rejected', error };
      return { id, status: 'rejected', error: unavailable('neither a shard nor the database can be reached', error) };
    }
  };
}

/** The write may still be committed. */
function lateError(): SpillError {
  return new SpillError('timeout', 'no shard serves this account, and its row could not be had before the deadline');
}

/**
 * What a shard would not store for its timestamp is not written past it either, but left to it: by its clock, not by the
 * router's, something is too far ahead; and it alone can tell whether what is older than the window expired, unless the
 * ledger has it.
 */
async function refuseByTime(
  transaction: StampedTransaction,
  dataTable: Pick<DataTable, 'ledger'>,
  times: DirectPathTimes,
): Promise<SubmitResult | null> {
  const { account, id, timestamp } = transaction;
  const now = Date.now() * 1_000;
  if (timestamp > now + times.maxClockSkewMicros) {
    const error = unavailable('no shard serves this account, and its timestamp is too far ahead of the clock here');
    return { id, status: 'rejected', error };
  }
  if (transaction.stamped || timestamp >= now - times.dedupeWindowMicros) return null;
  const [row] = await dataTable.ledger([{ account, id }]);
  if (!row) return { id, status: 'rejected', error: unavailable('no shard serves this account, and it is old') };
  const outcome = row.amount === transaction.amount ? 'duplicate' : 'id_conflict';
  return resultOf(transaction, { outcome, row });
}

function resultOf(transaction: StampedTransaction, outcome: DirectOutcome): SubmitResult {
  const { id, timestamp } = transaction;
  switch (outcome.outcome) {
    case 'applied':
      return { id, status: 'applied', shard: null, sequence: null, timestamp };
    case 'duplicate': {
      const { shard, sequence } = outcome.row;
      return { id, status: 'duplicate', shard, sequence, timestamp: outcome.row.timestamp };
    }
    case 'id_conflict':
      return { id, status: 'rejected', error: idConflictError(transaction, outcome.row.amount) };
    case 'unavailable':
      return { id, status: 'rejected', error: unavailable(`no shard serves this account: ${outcome.detail}`) };
  }
}

function unavailable(message: string, cause?: unknown): SpillError {
  return new SpillError('unavailable', message, { cause });
}
