import type { LedgerQuery, LedgerRow, LedgerState, SetAsideReason, TransactionKey, Watermark } from '@spill/core';
import { isStorableText } from '@spill/core';
import type pg from 'pg';
import { textArray, timestampParameter } from './binary-array.js';
import { refuseStandby } from './read-balances.js';
import { runStatement } from './sql-transaction.js';
import { toWatermark, WATERMARK_COLUMNS, type WatermarkRow } from './watermark-row.js';

/** Columns of a ledger row (alias `l`) that are safe in JSON: numbers beyond 2^53 as text. */
export const LEDGER_COLUMNS = `l.account, l.id, l.amount::text AS amount,
  (extract(epoch FROM l.timestamp) * 1000000)::int8::text AS timestamp, l.shard, l.sequence::text AS sequence,
  l.state, l.reason, l.applied_account`;

export interface WireLedgerRow {
  readonly account: string;
  readonly id: string;
  readonly amount: string;
  readonly timestamp: string;
  readonly shard: number | null;
  readonly sequence: string | null;
  readonly state: LedgerState;
  readonly reason: SetAsideReason | null;
  readonly applied_account: string | null;
}

export function toLedgerRow(row: WireLedgerRow): LedgerRow {
  return {
    account: row.account,
    id: row.id,
    amount: BigInt(row.amount),
    timestamp: Number(row.timestamp),
    shard: row.shard,
    sequence: row.sequence === null ? null : Number(row.sequence),
    state: row.state,
    reason: row.reason,
    appliedAccount: row.applied_account,
  };
}

/** Rows of these keys, in their order; null where there is none. */
export async function ledgerByKeys(pool: pg.Pool, keys: readonly TransactionKey[]): Promise<(LedgerRow | null)[]> {
  const storable = keys.map((key) => isStorableText(key.account) && isStorableText(key.id));
  const asked = keys.filter((_, place) => storable[place]);
  const result = await runStatement(
    pool,
    `SELECT pg_is_in_recovery() AS standby, ${LEDGER_COLUMNS}
     FROM unnest($1::text[], $2::text[]) WITH ORDINALITY u(account, id, place)
     LEFT JOIN spill.ledger l ON l.account = u.account AND l.id = u.id ORDER BY u.place`,
    [textArray(asked.map((key) => key.account)), textArray(asked.map((key) => key.id))],
  );
  let next = 0;
  return storable.map((good) => {
    if (!good) return null;
    const row = result.rows[next++];
    refuseStandby(row.standby);
    return row.account === null ? null : toLedgerRow(row);
  });
}

/** A page of one account by (timestamp, bytes of id), with all watermarks of the same snapshot. */
export async function retrieveLedger(
  pool: pg.Pool,
  query: LedgerQuery,
): Promise<{ rows: LedgerRow[]; watermarks: Map<number, Watermark | null> }> {
  const values: unknown[] = [query.account];
  const conditions = ['l.account = $1'];
  const add = (condition: (place: string) => string, value: unknown) => {
    values.push(value);
    conditions.push(condition(`$${values.length}`));
  };
  if (query.after !== undefined) {
    add((place) => `l.timestamp >= ${place}::timestamptz`, timestampParameter(query.after.timestamp));
    const { id } = query.after;
    add((place) => `(l.timestamp, l.id) > ($2::timestamptz, ${place}::text COLLATE "C")`, id);
  }
  if (query.from !== undefined) add((place) => `l.timestamp >= ${place}::timestamptz`, timestampParameter(query.from));
  if (query.to !== undefined) add((place) => `l.timestamp < ${place}::timestamptz`, timestampParameter(query.to));
  if (query.state !== undefined) add((place) => `l.state = ${place}::spill.ledger_state`, query.state);
  values.push(query.limit);
  const result = await runStatement(
    pool,
    `SELECT pg_is_in_recovery() AS standby,
       (SELECT coalesce(json_agg(w), '[]') FROM (SELECT ${WATERMARK_COLUMNS} FROM spill.watermark) w) AS watermarks,
       (SELECT coalesce(json_agg(page), '[]') FROM (
          SELECT ${LEDGER_COLUMNS} FROM spill.ledger l WHERE ${conditions.join(' AND ')}
          ORDER BY l.timestamp, l.id LIMIT $${values.length}::int4) page) AS rows`,
    values,
  );
  const answer = result.rows[0];
  refuseStandby(answer.standby);
  return {
    rows: (answer.rows as WireLedgerRow[]).map(toLedgerRow),
    watermarks: new Map((answer.watermarks as WatermarkRow[]).map((row) => [row.shard, toWatermark(row)])),
  };
}
