import {
  type AttemptEvent,
  type FirstSeen,
  type GiveUpCode,
  RowStatus,
  SpillError,
  type StampedTransaction,
  showValue,
  type Topology,
} from '@spill/core';

/** The error of a row that its shard has answered for good. */
export function rowError(
  status: RowStatus.idConflict | RowStatus.expired,
  transaction: StampedTransaction,
  first: FirstSeen | undefined,
): SpillError {
  if (status === RowStatus.idConflict) return idConflictError(transaction, first?.amount);
  return new SpillError(
    'expired',
    `timestamp is ${transaction.timestamp}: older than the deduplication window, and the id is not known. ` +
      'Ask transactions.get whether an earlier try took effect before sending it with a new timestamp',
  );
}

/**
 * The error of a user's timestamp that a shard finds too far ahead of its clock. Where this process is of the cluster
 * (`maxClockSkewMicros` not null) and does not find so, two clocks of the cluster differ, and the client is not refused
 * for good for what may be the shard's fault.
 */
export function aheadError(timestamp: number, shard: number, maxClockSkewMicros: number | null): SpillError {
  const now = Date.now();
  if (maxClockSkewMicros !== null && timestamp <= now * 1_000 + maxClockSkewMicros) {
    return new SpillError(
      'unavailable',
      `timestamp is ${timestamp}: too far ahead of the clock of shard ${shard}, and not of this router's; their clocks ` +
        'differ by more than they may: see spill doctor',
    );
  }
  return new SpillError(
    'invalid_transaction',
    `timestamp is ${timestamp}: too far ahead of the cluster's clock; the clock here says ${new Date(now).toISOString()}`,
  );
}

export function idConflictError(transaction: StampedTransaction, firstAmount: bigint | undefined): SpillError {
  const first = firstAmount === undefined ? '' : ` (${firstAmount})`;
  return new SpillError(
    'id_conflict',
    `amount is ${transaction.amount}: this account has a transaction with this id and another amount${first}; ` +
      'a correction needs an id of its own',
  );
}

/** The account is not written as the data table's id column writes it. */
export function foreignAccountError(account: string, accountType: Topology['accountType']): SpillError {
  return new SpillError(
    'invalid_transaction',
    `account is ${showValue(account)}: must be written as the data table's ${accountType} column does`,
  );
}

export function overloadedError(message: string, retryAfterMs: number): SpillError {
  return new SpillError('overloaded', message, { retryAfterMs });
}

/** The error of a transaction that is given up, all of them safe to repeat with the same id. */
export function giveUpError(
  code: GiveUpCode,
  event: AttemptEvent,
  shard: number,
  detail: string,
  retryAfterMs: number,
): SpillError {
  const message = `shard ${shard} ${EVENT_TEXT[event]}${detail ? `: ${detail}` : ''}`;
  return code === 'overloaded' ? overloadedError(message, retryAfterMs) : new SpillError(code, message);
}

const EVENT_TEXT: Readonly<Record<AttemptEvent, string>> = {
  answered: 'answered',
  moved: 'does not own the account any more, and no other shard took it within the deadline',
  restamp: 'is further ahead than a new timestamp could reach',
  ledger_away: 'could not ask the ledger about a transaction older than it remembers',
  unavailable: 'does not take transactions now',
  overloaded: 'has too much waiting',
  late: 'could not take it before the deadline',
  malformed: 'could not read the batch',
  no_responders: 'has no process now',
  not_sent: 'could not be asked',
  replaced: 'was given to another process',
  no_answer: 'did not answer within the deadline',
};
