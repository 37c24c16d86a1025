import type { SetAsideReason } from '@spill/core';
import type pg from 'pg';
import { accountKeys, accountsParameter } from './account-keys.js';
import { classifyError, describeError, setAsideReason, sqlState } from './classify-error.js';
import type { DataTableContext } from './data-table-context.js';
import type { TableSql } from './table-sql.js';
import { withSavepoint } from './with-savepoint.js';

export interface Refusal {
  readonly reason: SetAsideReason;
  readonly detail: string;
}

/** Whether other folds may be under way at the same time. */
export type FoldsBeside = 'alongside' | 'alone';

/** After this many refusals in one fold the rest of a refused part is set aside untried: retries look closer. */
export function refusalsMax(accounts: number): number {
  return Math.max(128, accounts >> 6);
}

/**
 * Locks the rows of these accounts (canonical, ascending, each once) and returns those that could not be, with the
 * reason. All locks are taken in the order of the account's bytes: first waiting for at most `lockMsMax`, so that
 * spill's own folds of one hot row queue behind each other; then without waiting, so that only what is locked for
 * long, or by others, is set aside.
 *
 * `alongside`: null, and nothing locked, where a lock did not come in time: it may be another fold's, which must not set
 * the account aside. The caller begins again alone, and then what is locked is somebody else's.
 *
 * The balance of each locked row is noted as its opening, if it has none yet.
 *
 * FOR NO KEY UPDATE is what changing a balance needs. FOR UPDATE would also wait for every session that has inserted
 * a row with a foreign key to the account.
 */
export async function lockAccounts(
  client: pg.PoolClient,
  context: DataTableContext,
  accounts: readonly string[],
): Promise<Map<string, Refusal>>;
export async function lockAccounts(
  client: pg.PoolClient,
  context: DataTableContext,
  accounts: readonly string[],
  beside: FoldsBeside | undefined,
): Promise<Map<string, Refusal> | null>;
export async function lockAccounts(
  client: pg.PoolClient,
  context: DataTableContext,
  accounts: readonly string[],
  beside?: FoldsBeside,
): Promise<Map<string, Refusal> | null> {
  const refused = new Map<string, Refusal>();
  if (accounts.length === 0) return refused;
  const { sql, mapping } = context;
  const keys = accountKeys(accounts, mapping);

  // Alone, it has waited before.
  if (beside !== 'alone') {
    const locked = await lockWaiting(client, context, keys, accounts.length);
    if (locked === accounts.length) return refused;
    if (locked === null && beside === 'alongside') return null;
  }

  const existing = await accountsThere(client, context, keys, accounts.length);
  if (mapping.createAccounts) {
    const missing = accounts.filter((account) => !existing.has(account));
    await createAccounts(client, context, missing, refused);
    for (const account of missing) if (!refused.has(account)) existing.add(account);
  }
  const locked = await client.query(lockAndNote(sql, accounts.length, 'SELECT account FROM locked', 'SKIP LOCKED'), [
    keys,
  ]);
  const held = new Set(locked.rows.map((row) => row.account as string));
  for (const account of accounts) {
    if (held.has(account) || refused.has(account)) continue;
    refused.set(
      account,
      existing.has(account)
        ? { reason: 'row_locked', detail: `locked by another session for more than ${context.limits.lockMsMax} ms` }
        : { reason: 'row_missing', detail: `${mapping.table} has no row ${account}` },
    );
  }
  return refused;
}

/**
 * Locks rows in the order of their accounts, and notes their balances as `opening` where spill has not changed them
 * before: in one statement, since looking up 10,000 rows twice costs as much as locking them. A balance that is NULL, NaN
 * or infinite is no opening; its row will be refused anyway.
 */
function lockAndNote(sql: TableSql, count: number, answer: string, wait: '' | 'SKIP LOCKED' = ''): string {
  return `WITH locked AS MATERIALIZED (
      SELECT ${sql.account} AS account, ${sql.minorUnits} AS balance FROM ${sql.table} t
      WHERE t.${sql.idColumn} = ANY(${accountsParameter(1, sql.keyArray, count)}) ORDER BY ${sql.account} FOR NO KEY UPDATE OF t ${wait}
    ), noted AS (
      INSERT INTO spill.opening (account, balance)
      SELECT l.account, l.balance FROM locked l
      WHERE l.balance > '-Infinity' AND l.balance < 'Infinity'
        AND NOT EXISTS (SELECT FROM spill.opening o WHERE o.account = l.account)
      ON CONFLICT (account) DO NOTHING
    ) ${answer}`;
}

/** How many rows are there and locked now; null: a lock did not come in time, and this attempt is undone. */
async function lockWaiting(
  client: pg.PoolClient,
  { sql }: DataTableContext,
  keys: Buffer | string,
  count: number,
): Promise<number | null> {
  try {
    const result = await withSavepoint(client, 'waiting', () =>
      client.query(lockAndNote(sql, count, 'SELECT count(*)::int AS locked FROM locked'), [keys]),
    );
    return result.rows[0].locked as number;
  } catch (error) {
    if (sqlState(error) === '55P03') return null;
    throw error;
  }
}

async function accountsThere(
  client: pg.PoolClient,
  { sql }: DataTableContext,
  keys: Buffer | string,
  count: number,
): Promise<Set<string>> {
  const result = await client.query(
    `SELECT ${sql.account} AS account FROM ${sql.table} t
     WHERE t.${sql.idColumn} = ANY(${accountsParameter(1, sql.keyArray, count)})`,
    [keys],
  );
  return new Set(result.rows.map((row) => row.account as string));
}

/**
 * Inserts accounts with balance 0, ascending. What can't be inserted (another session inserts the same row and does
 * not end, a constraint, a column that must not be null) is narrowed down by halving.
 */
async function createAccounts(
  client: pg.PoolClient,
  { sql, mapping }: DataTableContext,
  accounts: readonly string[],
  refused: Map<string, Refusal>,
): Promise<void> {
  const parts = accounts.length === 0 ? [] : [accounts];
  while (parts.length > 0) {
    const part = parts.pop()!;
    try {
      await withSavepoint(client, 'creating', () =>
        client.query(
          `INSERT INTO ${sql.table} AS t (${sql.idColumn}, ${sql.balanceColumn})
           SELECT u.key, 0 FROM unnest($1::${sql.keyArray}) u(key) ORDER BY u.key::text COLLATE "C"
           ON CONFLICT DO NOTHING`,
          [accountKeys(part, mapping)],
        ),
      );
    } catch (error) {
      const locked = sqlState(error) === '55P03';
      if (sqlState(error) === undefined || (!locked && classifyError(error) !== 'statement')) throw error;
      if (part.length === 1 || refused.size >= refusalsMax(accounts.length)) {
        const reason = locked ? 'row_locked' : part.length === 1 ? setAsideReason(error) : 'sql_error';
        for (const account of part) refused.set(account, { reason, detail: describeError(error) });
      } else {
        const middle = part.length >> 1;
        parts.push(part.slice(middle), part.slice(0, middle));
      }
    }
  }
}
