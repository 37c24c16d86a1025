import type { ConflictRow, SetAsideRow } from '@spill/core';
import { showTimestamp } from '../parse-timestamp.js';
import { renderTable } from './table.js';

/** Transactions that are stored and not in their row, each with the database's reason. */
export function renderSetAside(rows: readonly SetAsideRow[]): string {
  return renderTable(
    [
      { head: 'account' },
      { head: 'id' },
      { head: 'amount', align: 'right' },
      { head: 'since' },
      { head: 'retries', align: 'right' },
      { head: 'reason' },
      { head: 'detail' },
    ],
    rows.map((row) => [
      row.account,
      row.id,
      row.amount,
      row.setAsideAt.slice(0, 19),
      row.attempts,
      row.reason?.replace('_', ' '),
      row.detail ?? '',
    ]),
  );
}

/** The same id with another amount; `place` is what `spill conflicts resolve` takes. */
export function renderConflicts(rows: readonly ConflictRow[]): string {
  return renderTable(
    [
      { head: 'place' },
      { head: 'account' },
      { head: 'id' },
      { head: 'amount', align: 'right' },
      { head: 'first amount', align: 'right' },
      { head: 'timestamp' },
      { head: 'state' },
      { head: 'detail' },
    ],
    rows.map((row) => [
      placeOf(row),
      row.account,
      row.id,
      row.amount,
      row.ledgerAmount,
      showTimestamp(row.timestamp),
      row.state,
      row.detail ?? '',
    ]),
  );
}

/** `logId:sequence:index`: where a conflict lies in the logs. */
export function placeOf({ logId, sequence, index }: Pick<ConflictRow, 'logId' | 'sequence' | 'index'>): string {
  return `${logId}:${sequence}:${index}`;
}
