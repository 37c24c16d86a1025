import {
  type BalanceRow,
  type BalanceSnapshot,
  DataTableUnavailableError,
  isCanonicalAccount,
  type Watermark,
} from '@spill/core';
import { int4Array, textArray } from './binary-array.js';
import type { DataTableContext } from './data-table-context.js';
import { runStatement } from './sql-transaction.js';
import { toWatermark, WATERMARK_COLUMNS, type WatermarkRow } from './watermark-row.js';

interface WireBalance {
  readonly there: boolean;
  readonly units: string | null;
  readonly set_aside: string;
  readonly direct_ids: string[] | null;
  readonly known: boolean;
}

/**
 * Rows, set-aside sums, direct marks and watermarks in ONE statement, so that they are of one snapshot: with two, a
 * fold between them would be counted twice or not at all.
 */
export async function readBalances(
  { pool, mapping, sql }: DataTableContext,
  accounts: readonly string[],
  shards: readonly number[],
): Promise<BalanceSnapshot> {
  // An account that the column's type can't hold has no row; its key is left out of the cast.
  const keys = accounts.map((account) => (isCanonicalAccount(account, mapping) ? account : null));
  const result = await runStatement(
    pool,
    `SELECT pg_is_in_recovery() AS standby,
       (SELECT coalesce(json_agg(w), '[]') FROM (
          SELECT ${WATERMARK_COLUMNS} FROM spill.watermark WHERE shard = ANY($3::int4[])) w) AS watermarks,
       (SELECT coalesce(json_agg(b ORDER BY b.place), '[]') FROM (
          SELECT u.place, t.${sql.idColumn} IS NOT NULL AS there, ${sql.minorUnits}::text AS units,
            (SELECT coalesce(sum(amount), 0)::text FROM spill.ledger l
             WHERE l.account = u.account AND l.state = 'set_aside') AS set_aside,
            (SELECT json_agg(m.id) FROM spill.direct_mark m WHERE m.account = u.account) AS direct_ids,
            EXISTS (SELECT FROM spill.ledger l WHERE l.account = u.account) AS known
          FROM unnest($1::text[], $2::${sql.keyArray}) WITH ORDINALITY u(account, key, place)
          LEFT JOIN ${sql.table} t ON t.${sql.idColumn} = u.key) b) AS balances`,
    [textArray(accounts), keys, int4Array(shards)],
  );
  const answer = result.rows[0];
  refuseStandby(answer.standby);
  const watermarks = new Map<number, Watermark | null>(shards.map((shard) => [shard, null]));
  for (const row of answer.watermarks as WatermarkRow[]) watermarks.set(row.shard, toWatermark(row));
  return {
    accounts: (answer.balances as WireBalance[]).map((row, place) => toBalanceRow(accounts[place]!, row)),
    watermarks,
  };
}

function toBalanceRow(account: string, row: WireBalance): BalanceRow {
  const units = row.there ? wholeUnits(row.units) : { value: null, problem: null };
  return {
    account,
    row: units.value,
    rowProblem: units.problem,
    setAside: BigInt(row.set_aside),
    directIds: row.direct_ids ?? [],
    known: row.known,
  };
}

/** A numeric as minor units, or why it is none. */
export function wholeUnits(text: string | null): { value: bigint | null; problem: string | null } {
  if (text === null) return { value: null, problem: 'the balance is NULL' };
  const parts = /^(-?[0-9]+)(?:\.0*)?$/.exec(text);
  if (parts === null) return { value: null, problem: `the balance is no whole number of minor units: ${text}` };
  return { value: BigInt(parts[1]!), problem: null };
}

/** A standby answers from the past: a ledger row not there yet would be taken for never there. */
export function refuseStandby(standby: boolean): void {
  if (standby) throw new DataTableUnavailableError('this server is a standby; spill needs the primary');
}
