import {
  type ConflictRow,
  canonicalAccount,
  type LedgerRow,
  type OperatorAction,
  OperatorActionError,
  type OperatorNote,
  type SetAsideRow,
  type TransactionKey,
  type Watermark,
} from '@spill/core';
import type pg from 'pg';
import { changeBalances } from './change-balances.js';
import type { DataTableContext } from './data-table-context.js';
import { lockAccounts } from './lock-accounts.js';
import { LEDGER_COLUMNS, toLedgerRow } from './read-ledger.js';
import { readLedgerId } from './read-ledger-id.js';
import { inTransaction, runStatement } from './sql-transaction.js';

/** A timestamptz as ISO 8601 in UTC. */
const iso = (column: string) => `to_char(${column} AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')`;

export async function listSetAside(pool: pg.Pool, filter: { account?: string; limit: number }): Promise<SetAsideRow[]> {
  const result = await runStatement(
    pool,
    `SELECT ${LEDGER_COLUMNS}, l.detail, ${iso('l.recorded_at')} AS set_aside_at, coalesce(l.attempts, 0) AS attempts
     FROM spill.ledger l WHERE l.state = 'set_aside' AND ($1::text IS NULL OR l.account = $1)
     ORDER BY l.account, l.timestamp, l.id LIMIT $2`,
    [filter.account ?? null, filter.limit],
  );
  return result.rows.map((row) => ({
    ...toLedgerRow(row),
    detail: row.detail,
    setAsideAt: row.set_aside_at,
    attempts: row.attempts,
  }));
}

/**
 * Applies a set-aside transaction to another account's row. The ledger row keeps its own key, so that a retry of the
 * transaction is still known, and the key can't collide with one of the other account.
 */
export async function moveSetAside(
  context: DataTableContext,
  key: TransactionKey,
  toAccount: string,
  note: OperatorNote,
): Promise<LedgerRow> {
  if (canonicalAccount(toAccount, context.mapping) !== toAccount) {
    throw new OperatorActionError(
      'conflict',
      `${show(toAccount)} is not written as ${context.mapping.idType} writes it`,
    );
  }
  if (toAccount === key.account) {
    throw new OperatorActionError(
      'conflict',
      'it can only be moved to another account; to apply it to its own, retry it',
    );
  }
  return await inTransaction(context.pool, context.limits, async (client) => {
    const locked = (await lockAccounts(client, context, [toAccount])).get(toAccount);
    const row = await lockSetAside(client, key);
    if (locked !== undefined) throw new OperatorActionError('conflict', `${show(toAccount)}: ${locked.detail}`);
    const refused = (await changeBalances(client, context, [{ account: toAccount, delta: row.amount }])).get(toAccount);
    if (refused !== undefined) throw new OperatorActionError('conflict', `${show(toAccount)}: ${refused.detail}`);
    const moved = await client.query(
      `UPDATE spill.ledger l SET state = 'applied', applied_account = $3, settled_at = now()
       WHERE account = $1 AND id = $2 RETURNING ${LEDGER_COLUMNS}`,
      [key.account, key.id, toAccount],
    );
    await keepAction(client, note, 'move', `${showKey(key)} to ${show(toAccount)}`);
    return { commit: true, value: toLedgerRow(moved.rows[0]) };
  });
}

/** Decides that a set-aside transaction is never applied. */
export async function writeOff(context: DataTableContext, key: TransactionKey, note: OperatorNote): Promise<LedgerRow> {
  return await inTransaction(context.pool, context.limits, async (client) => {
    await lockSetAside(client, key);
    const result = await client.query(
      `UPDATE spill.ledger l SET state = 'written_off', settled_at = now()
       WHERE account = $1 AND id = $2 RETURNING ${LEDGER_COLUMNS}`,
      [key.account, key.id],
    );
    await keepAction(client, note, 'write_off', showKey(key));
    return { commit: true, value: toLedgerRow(result.rows[0]) };
  });
}

async function lockSetAside(client: pg.PoolClient, key: TransactionKey): Promise<LedgerRow> {
  const result = await client.query(
    `SELECT ${LEDGER_COLUMNS} FROM spill.ledger l WHERE account = $1 AND id = $2 FOR UPDATE`,
    [key.account, key.id],
  );
  if (result.rows.length === 0) throw new OperatorActionError('not_found', `the ledger has no ${showKey(key)}`);
  const row = toLedgerRow(result.rows[0]);
  if (row.state !== 'set_aside') {
    throw new OperatorActionError('conflict', `${showKey(key)} is not set aside any more: it is ${row.state}`);
  }
  return row;
}

export const CONFLICT_COLUMNS = `replace(c.log_id::text, '-', '') AS log_id, c.shard, c.sequence::text AS sequence,
  c.record_index, c.account, c.id, c.amount::text AS amount,
  (extract(epoch FROM c.timestamp) * 1000000)::int8::text AS timestamp, c.ledger_amount::text AS ledger_amount,
  c.detail, c.state`;

export function toConflictRow(row: Record<string, string | null>): ConflictRow {
  return {
    logId: row.log_id!,
    shard: Number(row.shard),
    sequence: Number(row.sequence),
    index: Number(row.record_index),
    account: row.account!,
    id: row.id!,
    amount: BigInt(row.amount!),
    timestamp: Number(row.timestamp),
    ledgerAmount: row.ledger_amount === null || row.ledger_amount === undefined ? null : BigInt(row.ledger_amount),
    detail: row.detail ?? null,
    state: row.state as ConflictRow['state'],
  };
}

export async function listConflicts(
  pool: pg.Pool,
  filter: { state?: 'open' | 'resolved'; limit: number },
): Promise<ConflictRow[]> {
  const result = await runStatement(
    pool,
    `SELECT ${CONFLICT_COLUMNS} FROM spill.conflict c
     WHERE $1::spill.conflict_state IS NULL OR c.state = $1::spill.conflict_state
     ORDER BY c.recorded_at, c.log_id, c.sequence, c.record_index LIMIT $2`,
    [filter.state ?? null, filter.limit],
  );
  return result.rows.map(toConflictRow);
}

export async function resolveConflict(
  context: DataTableContext,
  key: { logId: string; sequence: number; index: number },
  note: OperatorNote,
): Promise<ConflictRow> {
  return await inTransaction(context.pool, context.limits, async (client) => {
    const result = await client.query(
      `SELECT ${CONFLICT_COLUMNS} FROM spill.conflict c
       WHERE log_id = $1::uuid AND sequence = $2 AND record_index = $3 FOR UPDATE`,
      [key.logId, key.sequence, key.index],
    );
    const place = `the conflict at ${key.logId}, ${key.sequence}, ${key.index}`;
    if (result.rows.length === 0) throw new OperatorActionError('not_found', `there is no ${place.slice(4)}`);
    const row = toConflictRow(result.rows[0]);
    if (row.state !== 'open') throw new OperatorActionError('conflict', `${place} is resolved already`);
    await client.query(
      `UPDATE spill.conflict SET state = 'resolved', resolved_at = now()
       WHERE log_id = $1::uuid AND sequence = $2 AND record_index = $3`,
      [key.logId, key.sequence, key.index],
    );
    await keepAction(client, note, 'resolve_conflict', `${place}: ${showKey(row)}`);
    return { commit: true, value: { ...row, state: 'resolved' } };
  });
}

/**
 * `spill repair` only. The old row is kept in `watermark_history`, with its totals; those of the new one begin at
 * zero, from its own sequence on.
 */
export async function resetWatermark(
  context: DataTableContext,
  watermark: Watermark,
  ledger: { readonly id: string; readonly renew: boolean },
  note: OperatorNote,
): Promise<string> {
  return await inTransaction(context.pool, context.limits, async (client) => {
    const old = await client.query('SELECT pool, assignment::text FROM spill.watermark WHERE shard = $1 FOR UPDATE', [
      watermark.shard,
    ]);
    if ((await readLedgerId(client)) !== ledger.id) {
      throw new OperatorActionError('conflict', "spill's schema was made anew meanwhile: look again");
    }
    if (ledger.renew) await client.query('UPDATE spill.ledger_id SET id = gen_random_uuid()');
    await client.query('INSERT INTO spill.watermark_history SELECT * FROM spill.watermark WHERE shard = $1', [
      watermark.shard,
    ]);
    await client.query(
      `INSERT INTO spill.watermark AS w (shard, pool, log_id, sequence, number, hash, assignment, base_sequence)
       VALUES ($1, $2, $3::uuid, $4, $5, $6::uuid, $7, $4)
       ON CONFLICT (shard) DO UPDATE SET log_id = excluded.log_id, sequence = excluded.sequence,
         number = excluded.number, hash = excluded.hash, assignment = greatest(w.assignment, excluded.assignment),
         base_sequence = excluded.base_sequence, folded_count = 0, folded_sum = 0, dropped_count = 0, dropped_sum = 0,
         conflict_count = 0, conflict_sum = 0, updated_at = now()`,
      [
        watermark.shard,
        old.rows[0]?.pool ?? 'unknown',
        watermark.logId,
        watermark.sequence,
        watermark.number,
        watermark.hash,
        watermark.assignment,
      ],
    );
    await keepAction(
      client,
      note,
      'reset_watermark',
      `shard ${watermark.shard} to log ${watermark.logId}, sequence ${watermark.sequence}, number ${watermark.number}`,
    );
    return { commit: true, value: await readLedgerId(client) };
  });
}

export async function listOperatorActions(pool: pg.Pool, limit: number): Promise<OperatorAction[]> {
  const result = await runStatement(
    pool,
    `SELECT ${iso('at')} AS at, who, why, action, subject FROM spill.operator_action ORDER BY number DESC LIMIT $1`,
    [limit],
  );
  return result.rows;
}

async function keepAction(
  client: pg.PoolClient,
  note: OperatorNote,
  action: OperatorAction['action'],
  subject: string,
): Promise<void> {
  await client.query('INSERT INTO spill.operator_action (who, why, action, subject) VALUES ($1, $2, $3, $4)', [
    note.who,
    note.why,
    action,
    subject,
  ]);
}

function showKey(key: TransactionKey): string {
  return `transaction ${show(key.id)} of account ${show(key.account)}`;
}

function show(text: string): string {
  return JSON.stringify(text);
}
