import { randomUUID } from 'node:crypto';
import { checkTransaction, SpillError, type StampedTransaction, type SubmitResult } from '@spill/core';
import type { TransactionInput } from './types.js';

/**
 * Fixes id and timestamp before the first try, and checks everything. `index`: its place in an array, −1 for a single
 * one. `now`: microseconds. Returns the result to give where it can't be a transaction.
 */
export function stampInput(input: TransactionInput, index: number, now: number): StampedTransaction | SubmitResult {
  const named = isObject(input) && input.id === undefined ? { ...input, id: randomUUID() } : input;
  const checked = checkTransaction(named, index, now);
  if (!(checked instanceof SpillError)) return checked;
  const id = isObject(input) && typeof input.id === 'string' ? input.id : null;
  return { id, status: 'rejected', error: checked };
}

function isObject(value: unknown): value is TransactionInput {
  return typeof value === 'object' && value !== null;
}
