import { isCanonicalAccount, type LedgerRow, setAsideBackoffMs, TransientDataTableError } from '@spill/core';
import type pg from 'pg';
import { textArray } from './binary-array.js';
import { changeBalances } from './change-balances.js';
import type { DataTableContext } from './data-table-context.js';
import { lockAccounts, type Refusal } from './lock-accounts.js';
import { notCanonical } from './not-canonical.js';
import { LEDGER_COLUMNS, toLedgerRow } from './read-ledger.js';
import { inTransaction, runStatement } from './sql-transaction.js';

/** Rows of one account that one retry takes on: the oldest. The rest is due at once again. */
const ROWS_MAX = 10_000;
/** Parts of one account's rows that may be refused before the retry gives the rest up until the next time. */
const REFUSED_PARTS_MAX = 64;

/** Accounts with set-aside rows that are due (or all that have some), ascending by bytes. */
export async function dueSetAsideAccounts(
  pool: pg.Pool,
  query: { after?: string; accounts?: readonly string[]; limit: number },
  dueOnly = true,
): Promise<string[]> {
  const result = await runStatement(
    pool,
    `SELECT DISTINCT account FROM spill.ledger
     WHERE state = 'set_aside' AND account > $1 AND ($2 OR next_attempt_at IS NULL OR next_attempt_at <= now())
       AND ($3::text[] IS NULL OR account = ANY($3::text[]))
     ORDER BY account LIMIT $4`,
    [query.after ?? '', !dueOnly, query.accounts === undefined ? null : textArray(query.accounts), query.limit],
  );
  return result.rows.map((row) => row.account as string);
}

/**
 * Tries set-aside rows again, one account a SQL transaction. An account that meets another transaction too often
 * stays due and does not hold up the others.
 */
export async function retrySetAside(
  context: DataTableContext,
  filter: { accounts?: readonly string[]; dueOnly: boolean; limit: number },
): Promise<{ applied: number; remaining: number }> {
  const due = await dueSetAsideAccounts(context.pool, filter, filter.dueOnly);
  let applied = 0;
  for (const account of due) {
    try {
      applied += await retryAccount(context, account);
    } catch (error) {
      if (!(error instanceof TransientDataTableError)) throw error;
    }
  }
  const left = await runStatement(
    context.pool,
    `SELECT count(*)::int AS count FROM spill.ledger WHERE state = 'set_aside' AND account = ANY($1::text[])`,
    [textArray(due)],
  );
  return { applied, remaining: left.rows[0].count };
}

/**
 * Tries the set-aside rows of one account again, in one SQL transaction, and returns how many were applied. All together first; what is refused is halved, so that one bad transaction does not hold back the
 * others of its account.
 */
async function retryAccount(context: DataTableContext, account: string): Promise<number> {
  return await inTransaction(context.pool, context.limits, async (client) => {
    const refusal = isCanonicalAccount(account, context.mapping)
      ? (await lockAccounts(client, context, [account])).get(account)
      : notCanonical(account, context.mapping);
    const found = await client.query(
      `SELECT ${LEDGER_COLUMNS}, coalesce(l.attempts, 0) AS attempts FROM spill.ledger l
       WHERE account = $1 AND state = 'set_aside' ORDER BY l.timestamp, l.id LIMIT ${ROWS_MAX} FOR UPDATE`,
      [account],
    );
    const rows = found.rows.map(toLedgerRow);
    const attempts = found.rows.reduce((most, row) => Math.max(most, row.attempts), 0) + 1;
    const { applied, refused } =
      refusal === undefined
        ? await applyRows(client, context, account, rows)
        : { applied: [], refused: rows.map((row) => ({ row, refusal })) };
    await client.query(
      `UPDATE spill.ledger SET state = 'applied', settled_at = now() WHERE account = $1 AND id = ANY($2::text[])`,
      [account, textArray(applied.map((row) => row.id))],
    );
    await client.query(
      `UPDATE spill.ledger l SET attempts = coalesce(l.attempts, 0) + 1, reason = u.reason::spill.set_aside_reason,
         detail = u.detail, next_attempt_at = now() + $2 * interval '1 millisecond'
       FROM unnest($3::text[], $4::text[], $5::text[]) u(id, reason, detail)
       WHERE l.account = $1 AND l.id = u.id`,
      [
        account,
        setAsideBackoffMs(attempts),
        textArray(refused.map(({ row }) => row.id)),
        textArray(refused.map((entry) => entry.refusal.reason)),
        textArray(refused.map((entry) => entry.refusal.detail)),
      ],
    );
    return { commit: true, value: applied.length };
  });
}

async function applyRows(
  client: pg.PoolClient,
  context: DataTableContext,
  account: string,
  rows: readonly LedgerRow[],
): Promise<{ applied: LedgerRow[]; refused: { row: LedgerRow; refusal: Refusal }[] }> {
  const applied: LedgerRow[] = [];
  const refused: { row: LedgerRow; refusal: Refusal }[] = [];
  if (rows.length === 0) return { applied, refused };
  const parts = [rows];
  let refusedParts = 0;
  while (parts.length > 0) {
    const part = parts.pop()!;
    const delta = part.reduce((sum, row) => sum + row.amount, 0n);
    const refusal = (await changeBalances(client, context, [{ account, delta }])).get(account);
    if (refusal === undefined) {
      applied.push(...part);
      continue;
    }
    refusedParts += 1;
    if (part.length > 1 && refusedParts < REFUSED_PARTS_MAX) {
      const middle = part.length >> 1;
      parts.push(part.slice(middle), part.slice(0, middle));
    } else {
      refused.push(...part.map((row) => ({ row, refusal })));
    }
  }
  return { applied, refused };
}
