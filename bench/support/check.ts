import type { OperatorClient } from '@spill/node';
import type pg from 'pg';
import type { Acknowledged } from './acknowledged.js';
import { CONTROL } from './transactions.js';

export interface Checked {
  readonly acknowledged: number;
  /** Rows of the user's table that were compared, with what all others hold: nothing. */
  readonly accounts: number;
  /** Rows of spill's ledger. */
  readonly ledger: number;
  /** Transactions of the logs that `verify` compared one by one; of the others, the logs' chains and running totals. */
  readonly verified: number;
  /** At the end: the supervisor may have added some to those it began with. */
  readonly shards: number;
  readonly seconds: number;
}

export interface CheckOptions {
  readonly sql: pg.Client;
  readonly operator: OperatorClient;
  readonly acknowledged: Acknowledged;
}

const FOLD_MS = 240_000;
/** Beyond, comparing every one by `verify` takes longer than all the rest. */
const VERIFIED_MAX = 500_000;
const VERIFIED_ACCOUNTS_MAX = 5_000;
const WRONG_SHOWN_MAX = 5;

/** `SPILL_BENCH_SPOIL=row` or `=ledger` changes one just before the comparison, which has to notice. */
// biome-ignore lint/suspicious/noUndeclaredEnvVars: turbo does not run the benchmarks.
const SPOIL = process.env.SPILL_BENCH_SPOIL;

/**
 * Folds everything and compares rows, ledger and logs with what was acknowledged: each account's row; of the ledger the
 * count, the sum of the amounts and that of the ids, no two of which are the same; and what `verify` finds, where there
 * are many looking at the control account one by one and at the logs' chains and running totals for the others.
 *
 * @throws Error that says what is wrong.
 */
export async function check({ sql, operator, acknowledged }: CheckOptions): Promise<Checked> {
  const started = performance.now();
  await operator.fold(null, { timeoutMs: FOLD_MS });
  await spoil(sql);
  const wrong = [...(await compareRows(sql, acknowledged.sums))];
  const { rows } = await sql.query(
    `SELECT count(*)::int AS count, coalesce(sum(amount), 0)::text AS sum,
            coalesce(sum(substring(id FROM '[0-9]+$')::int8), 0)::text AS id_sum,
            count(*) FILTER (WHERE state <> 'applied')::int AS not_applied FROM spill.ledger`,
  );
  const { count, sum, id_sum: idSum, not_applied: notApplied } = rows[0] as LedgerTotals;
  const expected = [...acknowledged.sums.values()].reduce((total, one) => total + one, 0);
  if (count !== acknowledged.count) wrong.push(`the ledger has ${count} rows, acknowledged were ${acknowledged.count}`);
  if (Number(sum) !== expected) wrong.push(`the ledger adds up to ${sum}, acknowledged were ${expected}`);
  if (Number(idSum) !== acknowledged.idSum) {
    wrong.push(`the ids in the ledger add up to ${idSum}, those acknowledged to ${acknowledged.idSum}`);
  }
  if (notApplied > 0) wrong.push(`${notApplied} rows of the ledger are not applied`);
  const all = count <= VERIFIED_MAX && acknowledged.sums.size <= VERIFIED_ACCOUNTS_MAX;
  const verify = await operator.verify(all ? null : [CONTROL], { timeoutMs: FOLD_MS });
  for (const kind of ['lost', 'duplicated', 'mismatched', 'damaged', 'conflicts', 'drift', 'pending'] as const) {
    if (verify[kind] > 0) wrong.push(`verify: ${verify[kind]} ${kind}, ${JSON.stringify(verify.examples)}`);
  }
  if (wrong.length > 0) throw new Error(`not right: ${wrong.slice(0, WRONG_SHOWN_MAX).join('; ').slice(0, 2_000)}`);
  return {
    acknowledged: acknowledged.count,
    accounts: acknowledged.sums.size,
    ledger: count,
    verified: verify.checked,
    shards: (await operator.topology({ timeoutMs: 10_000 })).shards.length,
    seconds: (performance.now() - started) / 1_000,
  };
}

interface LedgerTotals {
  readonly count: number;
  readonly sum: string;
  readonly id_sum: string;
  readonly not_applied: number;
}

async function compareRows(sql: pg.Client, sums: ReadonlyMap<string, number>): Promise<string[]> {
  const { rows } = await sql.query<[string, string]>({
    text: 'SELECT id, balance::text FROM accounts WHERE balance <> 0',
    rowMode: 'array',
  });
  const balances = new Map(rows);
  const wrong: string[] = [];
  for (const [account, sum] of sums) {
    const balance = Number(balances.get(account) ?? 0);
    if (balance !== sum) wrong.push(`the row of ${account} holds ${balance}, acknowledged were ${sum}`);
  }
  for (const account of balances.keys()) if (!sums.has(account)) wrong.push(`the row of ${account} was changed`);
  return wrong;
}

async function spoil(sql: pg.Client): Promise<void> {
  if (SPOIL === 'row')
    await sql.query('UPDATE accounts SET balance = balance + 1 WHERE id = (SELECT min(id) FROM accounts)');
  if (SPOIL === 'ledger') {
    await sql.query('DELETE FROM spill.ledger WHERE (account, id) = (SELECT account, id FROM spill.ledger LIMIT 1)');
  }
}
