import { canonicalAccount, type DirectOutcome, type DirectTransaction, TransientDataTableError } from '@spill/core';
import type pg from 'pg';
import { timestampParameter } from './binary-array.js';
import { changeBalances } from './change-balances.js';
import type { DataTableContext } from './data-table-context.js';
import { lockAccounts } from './lock-accounts.js';
import { LEDGER_COLUMNS, toLedgerRow } from './read-ledger.js';
import { readLedgerId } from './read-ledger-id.js';
import { inTransaction, type TransactionEnd } from './sql-transaction.js';

/**
 * The direct path: ledger row, mark and balance in one SQL transaction, locked in the order of folds. What the row or
 * the table has against it is `unavailable` and never a rejection, since a shard that is gone may already hold the
 * transaction.
 */
export async function directWrite(
  context: DataTableContext,
  transaction: DirectTransaction,
  isLedger: (ledgerId: string) => boolean,
): Promise<DirectOutcome> {
  const canonical = canonicalAccount(transaction.account, context.mapping);
  if (canonical !== transaction.account) {
    return unavailable(`the account is not written as ${context.mapping.idType} writes it`);
  }
  try {
    return await inTransaction(context.pool, context.limits, (client) => write(client, context, transaction, isLedger));
  } catch (error) {
    if (error instanceof TransientDataTableError) return unavailable(error.message);
    throw error;
  }
}

async function write(
  client: pg.PoolClient,
  context: DataTableContext,
  { account, id, amount, timestamp }: DirectTransaction,
  isLedger: (ledgerId: string) => boolean,
): Promise<TransactionEnd<DirectOutcome>> {
  const inserted = await client.query(
    `INSERT INTO spill.ledger (account, id, amount, timestamp, state) VALUES ($1, $2, $3, $4::timestamptz, 'applied')
     ON CONFLICT (account, id) DO NOTHING`,
    [account, id, amount.toString(), timestampParameter(timestamp)],
  );
  // With the ledger's lock: no schema is dropped and made anew from here on.
  if (!isLedger(await readLedgerId(client))) {
    return { commit: false, value: unavailable("spill's ledger in the database is another than before: spill doctor") };
  }
  if (inserted.rowCount !== 1) return { commit: false, value: await tookEffectBefore(client, account, id, amount) };
  await client.query(
    'INSERT INTO spill.direct_mark (account, id) VALUES ($1, $2) ON CONFLICT (account, id) DO NOTHING',
    [account, id],
  );
  const refusal =
    (await lockAccounts(client, context, [account])).get(account) ??
    (await changeBalances(client, context, [{ account, delta: amount }])).get(account);
  if (refusal !== undefined) return { commit: false, value: unavailable(refusal.detail) };
  return { commit: true, value: { outcome: 'applied' } };
}

async function tookEffectBefore(
  client: pg.PoolClient,
  account: string,
  id: string,
  amount: bigint,
): Promise<DirectOutcome> {
  const found = await client.query(`SELECT ${LEDGER_COLUMNS} FROM spill.ledger l WHERE account = $1 AND id = $2`, [
    account,
    id,
  ]);
  if (found.rows.length !== 1) return unavailable('the ledger changed meanwhile');
  const row = toLedgerRow(found.rows[0]);
  return { outcome: row.amount === amount ? 'duplicate' : 'id_conflict', row };
}

function unavailable(detail: string): DirectOutcome {
  return { outcome: 'unavailable', detail };
}
