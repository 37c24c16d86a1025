import type { FoldedTo } from '@spill/core';
import { int4Array, safeIntegerArray, timestampParameter } from './binary-array.js';
import type { DataTableContext } from './data-table-context.js';
import { inTransaction } from './sql-transaction.js';

/**
 * Drops direct marks set before `before`, unless the database has been set back behind one of the watermarks that the
 * caller reasoned from: then copies of those transactions may be pending again.
 */
export async function clearDirectMarks(
  context: DataTableContext,
  before: number,
  watermarks: readonly FoldedTo[],
): Promise<number> {
  const statement = `DELETE FROM spill.direct_mark WHERE marked_at < $1::timestamptz AND NOT EXISTS (
       SELECT FROM unnest($2::int4[], $3::uuid[], $4::int8[]) u(shard, log_id, sequence)
       LEFT JOIN spill.watermark w ON w.shard = u.shard AND w.log_id = u.log_id AND w.sequence >= u.sequence
       WHERE w.shard IS NULL AND u.sequence > 0)`;
  const values = [
    timestampParameter(before),
    int4Array(watermarks.map((watermark) => watermark.shard)),
    `{${watermarks.map((watermark) => watermark.logId).join(',')}}`,
    safeIntegerArray(watermarks.map((watermark) => watermark.sequence)),
  ];
  return await inTransaction(context.pool, context.limits, async (client) => {
    const result = await client.query(statement, values);
    return { commit: true, value: result.rowCount ?? 0 };
  });
}
