/**
 * Replies as a client's types have them. MessagePack hands a small integer over as a number, a large one as bigint and
 * a sum beyond 64 bits as a string: amounts become bigint here, always, so that `5n === 5n` holds for whoever compares.
 */
import { spillErrorFromWire } from '@spill/core';
import type { AccountTransaction, Balance, BalanceError, TransactionList } from './types.js';

type Reply = Record<string, unknown>;

const STATES = ['pending', 'folded', 'set_aside', 'written_off'] as const;

export function readTransactionReply(reply: Reply): AccountTransaction {
  return {
    id: String(reply.id),
    amount: integer(reply.amount),
    timestamp: Number(reply.timestamp),
    shard: nullable(reply.shard, Number),
    sequence: nullable(reply.sequence, Number),
    state: STATES.find((state) => state === reply.state) ?? 'pending',
  };
}

export function readPageReply(reply: Reply): TransactionList {
  return {
    account: String(reply.account),
    transactions: (reply.transactions as Reply[]).map(readTransactionReply),
    next: nullable(reply.next, String),
  };
}

export function readBalanceReply(reply: Reply): Balance | BalanceError {
  const account = String(reply.account);
  if (reply.error !== undefined) return { account, error: spillErrorFromWire(reply.error) };
  return {
    account,
    balance: integer(reply.balance),
    row: nullable(reply.row, integer),
    setAside: integer(reply.set_aside),
    pending: integer(reply.pending),
  };
}

function integer(value: unknown): bigint {
  return BigInt(value as bigint | number | string);
}

function nullable<T>(value: unknown, read: (value: unknown) => T): T | null {
  return value === null || value === undefined ? null : read(value);
}
