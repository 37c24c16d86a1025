import type { SubmitResult } from '@spill/core';
import { showTimestamp } from '../parse-timestamp.js';
import { showText } from './show-text.js';

type Accepted = Exclude<SubmitResult, { status: 'rejected' }>;

const MEANING = {
  stored: 'stored, durable',
  duplicate: 'duplicate: stored before, counted once',
  applied: 'applied to its row directly',
} as const;

/** What became of one transaction. */
export function renderResult(result: Accepted, transaction: { account: string; amount: bigint }): string {
  const where = result.shard === null ? '' : `, shard ${result.shard}, record ${result.sequence}`;
  return (
    `${showText(transaction.account)}  ${transaction.amount}  ${MEANING[result.status]}\n` +
    `id ${showText(result.id)}${where}, ${showTimestamp(result.timestamp)}`
  );
}
