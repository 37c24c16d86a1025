import { showTimestamp } from '../parse-timestamp.js';
import { renderTable } from './table.js';

export interface TransactionLine {
  readonly id: string;
  readonly amount: bigint;
  readonly timestamp: number;
  readonly shard: number | null;
  readonly sequence: number | null;
  readonly state: string;
}

export function renderTransactions(transactions: readonly TransactionLine[]): string {
  return renderTable(
    [
      { head: 'timestamp' },
      { head: 'amount', align: 'right' },
      { head: 'state' },
      { head: 'shard', align: 'right' },
      { head: 'record', align: 'right' },
      { head: 'id' },
    ],
    transactions.map(({ id, amount, timestamp, shard, sequence, state }) => [
      showTimestamp(timestamp),
      amount,
      state.replace('_', ' '),
      shard,
      sequence,
      id,
    ]),
  );
}
