import { type DataTable, type FirstSeen, isDataTableFailure, type LedgerRow, type ShardState } from '@spill/core';

/**
 * What the ledger says of ids that are below the horizon and not known: the first transaction, null for "not there",
 * or that it can't be told, which must never look like "not there".
 *
 * "Not there" counts only in a ledger that holds all that was forgotten, both before and after the question: one that
 * was set back to an earlier state is missing what is still to be folded again.
 */
export async function askLedger(
  table: DataTable,
  state: ShardState,
  keys: readonly { account: string; id: string }[],
): Promise<(FirstSeen | null | 'unreachable')[]> {
  try {
    const before = await holdsForgotten(table, state);
    const rows = await table.ledger(keys);
    const whole = rows.every(Boolean) || (before && (await holdsForgotten(table, state)));
    return rows.map((row) => (row ? firstSeen(row) : whole ? null : 'unreachable'));
  } catch (error) {
    if (!isDataTableFailure(error)) throw error;
    return keys.map(() => 'unreachable');
  }
}

async function holdsForgotten(table: DataTable, state: ShardState): Promise<boolean> {
  const row = await table.watermark(state.shard);
  const { foldedUpTo } = state.small;
  return foldedUpTo === 0 || (row !== null && row.logId === state.logId && row.sequence >= foldedUpTo);
}

function firstSeen(row: LedgerRow): FirstSeen {
  return { shard: row.shard, sequence: row.sequence, timestamp: row.timestamp, amount: row.amount };
}
