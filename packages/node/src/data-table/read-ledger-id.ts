import { DataTableSchemaError, type Watermark } from '@spill/core';
import type pg from 'pg';
import { runStatement } from './sql-transaction.js';
import { toWatermark, WATERMARK_COLUMNS } from './watermark-row.js';

const LEDGER_ID = `(SELECT replace(id::text, '-', '') FROM spill.ledger_id)`;

/** In a transaction that holds a lock on one of spill's tables. */
export async function readLedgerId(client: pg.PoolClient): Promise<string> {
  return ledgerIdOf((await client.query(`SELECT ${LEDGER_ID} AS ledger_id`)).rows[0]);
}

/** One statement: between two the schema could be dropped and made anew. */
export async function ledgerOf(
  pool: pg.Pool,
  shard: number,
): Promise<{ ledgerId: string; watermark: Watermark | null }> {
  const result = await runStatement(
    pool,
    `SELECT ${LEDGER_ID} AS ledger_id, w.* FROM (SELECT 1) AS one
     LEFT JOIN (SELECT ${WATERMARK_COLUMNS} FROM spill.watermark WHERE shard = $1) AS w ON true`,
    [shard],
  );
  const [row] = result.rows;
  return { ledgerId: ledgerIdOf(row), watermark: row.shard === null ? null : toWatermark(row) };
}

/** A watermark row is made with the first fold of a shard and never deleted, so the ledger itself knows no other shard. */
export async function highestShard(pool: pg.Pool): Promise<number> {
  const there = await runStatement(pool, `SELECT to_regclass('spill.watermark') IS NOT NULL AS there`);
  if (!there.rows[0].there) return 0;
  return (await runStatement(pool, 'SELECT coalesce(max(shard), 0) AS highest FROM spill.watermark')).rows[0].highest;
}

function ledgerIdOf(row: { ledger_id: string | null }): string {
  if (row.ledger_id !== null) return row.ledger_id;
  throw new DataTableSchemaError([
    "spill.ledger_id has lost its row: restore spill's schema from a dump, together with the table",
  ]);
}
