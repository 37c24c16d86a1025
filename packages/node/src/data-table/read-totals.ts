import type {
  AccountTotals,
  ConflictRow,
  CountAndSum,
  FoldTotals,
  LedgerTotals,
  LogLedgerRow,
  Watermark,
} from '@spill/core';
import { isCanonicalAccount } from '@spill/core';
import type pg from 'pg';
import { textArray } from './binary-array.js';
import type { DataTableContext } from './data-table-context.js';
import { CONFLICT_COLUMNS, toConflictRow } from './operator-actions.js';
import { wholeUnits } from './read-balances.js';
import { LEDGER_COLUMNS, toLedgerRow } from './read-ledger.js';
import { inTransaction, runStatement } from './sql-transaction.js';
import { toWatermark, WATERMARK_COLUMNS } from './watermark-row.js';

/**
 * The totals of a page of accounts: all that the ledger knows, and those that only have an opening (because of what
 * was moved to them). One REPEATABLE READ transaction, so that rows, ledger and watermarks are of one moment.
 */
export async function accountTotals(
  context: DataTableContext,
  query: { after?: string; accounts?: readonly string[]; limit: number },
): Promise<{ accounts: AccountTotals[]; watermarks: Map<number, Watermark> }> {
  const { mapping, sql, limits } = context;
  const slow = { ...limits, statementMsMax: 0 };
  return await inTransaction(
    context.pool,
    slow,
    async (client) => {
      const accounts = query.accounts ?? (await pageOfAccounts(client, query.after ?? '', query.limit));
      const keys = accounts.map((account) => (isCanonicalAccount(account, mapping) ? account : null));
      const result = await client.query(
        `SELECT u.account, t.${sql.idColumn} IS NOT NULL AS there, ${sql.minorUnits}::text AS units,
           o.balance::text AS opening, (${sql.minorUnits} - o.balance)::text AS changed,
           own.*, moved.*, conflicts.*
         FROM unnest($1::text[], $2::${sql.keyArray}) WITH ORDINALITY u(account, key, place)
         LEFT JOIN ${sql.table} t ON t.${sql.idColumn} = u.key
         LEFT JOIN spill.opening o ON o.account = u.account
         CROSS JOIN LATERAL (
           SELECT ${countAndSum('own_applied', "state = 'applied' AND applied_account IS NULL")},
             ${countAndSum('direct', "state = 'applied' AND applied_account IS NULL AND shard IS NULL")},
             ${countAndSum('moved_out', "state = 'applied' AND applied_account IS NOT NULL")},
             ${countAndSum('set_aside', "state = 'set_aside'")},
             ${countAndSum('written_off', "state = 'written_off'")}
           FROM spill.ledger l WHERE l.account = u.account) own
         CROSS JOIN LATERAL (
           SELECT ${countAndSum('moved_in', "state = 'applied'")}
           FROM spill.ledger l WHERE l.applied_account = u.account) moved
         CROSS JOIN LATERAL (
           SELECT ${countAndSum('conflict', 'true')} FROM spill.conflict c WHERE c.account = u.account) conflicts
         ORDER BY u.place`,
        [textArray(accounts), keys],
      );
      const marks = await client.query(`SELECT ${WATERMARK_COLUMNS} FROM spill.watermark`);
      return {
        commit: true,
        value: {
          accounts: result.rows.map(toAccountTotals),
          watermarks: new Map(marks.rows.map((row) => [row.shard as number, toWatermark(row)])),
        },
      };
    },
    'REPEATABLE READ, READ ONLY',
  );
}

function countAndSum(name: string, condition: string): string {
  return `count(*) FILTER (WHERE ${condition})::text AS ${name}_count,
    coalesce(sum(amount) FILTER (WHERE ${condition}), 0)::text AS ${name}_sum`;
}

/** Skips from account to account in the ledger's key, so that a hot account's rows are not read for its name. */
async function pageOfAccounts(client: pg.PoolClient, after: string, limit: number): Promise<string[]> {
  const result = await client.query(
    `WITH RECURSIVE page(account, place) AS (
       SELECT ${nextAccount('$1::text')}, 1
       UNION ALL
       SELECT ${nextAccount('page.account')}, page.place + 1 FROM page WHERE page.account IS NOT NULL AND place < $2
     ) SELECT account FROM page WHERE account IS NOT NULL ORDER BY account COLLATE "C"`,
    [after, limit],
  );
  return result.rows.map((row) => row.account as string);
}

function nextAccount(after: string): string {
  return `least(
    (SELECT l.account FROM spill.ledger l WHERE l.account > ${after} COLLATE "C" ORDER BY l.account LIMIT 1),
    (SELECT o.account FROM spill.opening o WHERE o.account > ${after} COLLATE "C" ORDER BY o.account LIMIT 1),
    (SELECT c.account FROM spill.conflict c WHERE c.account > ${after} COLLATE "C" ORDER BY c.account LIMIT 1))`;
}

function toAccountTotals(row: Record<string, string | null> & { there: unknown }): AccountTotals {
  const part = (name: string): CountAndSum => ({
    count: BigInt(row[`${name}_count`]!),
    sum: BigInt(row[`${name}_sum`]!),
  });
  const units = row.there === true ? wholeUnits(row.units ?? null) : { value: null, problem: null };
  const opening = row.opening === null ? null : wholeUnits(row.opening!).value;
  const ownApplied = part('own_applied');
  const movedIn = part('moved_in');
  // A fraction that was there before spill came is in row and opening alike, and goes out of the difference.
  const changed = row.changed === null ? null : wholeUnits(row.changed!).value;
  return {
    account: row.account!,
    opening,
    row: units.value,
    rowProblem: units.problem,
    ownApplied,
    direct: part('direct'),
    movedIn,
    movedOut: part('moved_out'),
    setAside: part('set_aside'),
    writtenOff: part('written_off'),
    conflicts: part('conflict'),
    drift: changed === null ? null : changed - ownApplied.sum - movedIn.sum,
  };
}

export async function foldTotals(pool: pg.Pool): Promise<FoldTotals[]> {
  const columns = `${WATERMARK_COLUMNS}, base_sequence::text AS base_sequence, folded_count::text, folded_sum::text,
    dropped_count::text, dropped_sum::text, conflict_count::text, conflict_sum::text`;
  const result = await runStatement(
    pool,
    `SELECT ${columns}, true AS current, NULL::timestamptz AS replaced FROM spill.watermark
     UNION ALL SELECT ${columns}, false, replaced_at FROM spill.watermark_history
     ORDER BY shard, current DESC, replaced DESC`,
  );
  return result.rows.map((row) => ({
    watermark: toWatermark(row),
    baseSequence: Number(row.base_sequence),
    folded: { count: BigInt(row.folded_count), sum: BigInt(row.folded_sum) },
    dropped: { count: BigInt(row.dropped_count), sum: BigInt(row.dropped_sum) },
    conflicts: { count: BigInt(row.conflict_count), sum: BigInt(row.conflict_sum) },
    current: row.current,
  }));
}

/** Reading all of it takes a while: some 1,000,000 rows a second. */
const WHOLE_LEDGER_MS_MAX = 3_600_000;

export async function ledgerTotals(pool: pg.Pool): Promise<LedgerTotals[]> {
  const result = await runStatement(
    pool,
    `SELECT shard, replace(log_id::text, '-', '') AS log_id, count(*)::text AS count, sum(amount)::text AS sum,
       min(sequence)::text AS first, max(sequence)::text AS last
     FROM spill.ledger GROUP BY shard, log_id ORDER BY shard NULLS FIRST, log_id`,
    [],
    WHOLE_LEDGER_MS_MAX,
  );
  return result.rows.map((row) => ({
    shard: row.shard,
    logId: row.log_id,
    rows: { count: BigInt(row.count), sum: BigInt(row.sum) },
    firstSequence: row.first === null ? null : Number(row.first),
    lastSequence: row.last === null ? null : Number(row.last),
  }));
}

export interface LogRange {
  readonly shard: number;
  readonly logId: string;
  readonly fromSequence: number;
  readonly toSequence: number;
}

export async function ledgerOfLog(
  pool: pg.Pool,
  query: LogRange & { after?: { readonly sequence: number; readonly index: number }; limit: number },
): Promise<LogLedgerRow[]> {
  const after = query.after ?? { sequence: query.fromSequence, index: -1 };
  const result = await runStatement(
    pool,
    `SELECT ${LEDGER_COLUMNS}, replace(l.log_id::text, '-', '') AS log_id, l.record_index FROM spill.ledger l
     WHERE l.shard = $1 AND l.log_id = $2::uuid AND l.sequence BETWEEN $3 AND $4
       AND (l.sequence, l.record_index) > ($5, $6)
     ORDER BY l.sequence, l.record_index LIMIT $7`,
    [
      query.shard,
      query.logId,
      Math.max(query.fromSequence, after.sequence),
      query.toSequence,
      after.sequence,
      after.index,
      query.limit,
    ],
  );
  return result.rows.map((row) => ({
    ...toLedgerRow(row),
    shard: row.shard,
    sequence: Number(row.sequence),
    logId: row.log_id,
    index: row.record_index,
  }));
}

export async function conflictsOfLog(pool: pg.Pool, query: LogRange): Promise<ConflictRow[]> {
  const result = await runStatement(
    pool,
    `SELECT ${CONFLICT_COLUMNS} FROM spill.conflict c
     WHERE c.shard = $1 AND c.log_id = $2::uuid AND c.sequence BETWEEN $3 AND $4 ORDER BY c.sequence, c.record_index`,
    [query.shard, query.logId, query.fromSequence, query.toSequence],
  );
  return result.rows.map(toConflictRow);
}
