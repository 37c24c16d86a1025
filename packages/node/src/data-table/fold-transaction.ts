import {
  type FoldOutcome,
  type FoldRequest,
  groupByAccount,
  isCanonicalAccount,
  sameWatermark,
  type Watermark,
} from '@spill/core';
import type pg from 'pg';
import { int4Array, safeIntegerArray, textArray } from './binary-array.js';
import { BlockedError } from './blocked-error.js';
import { type Change, changeBalances } from './change-balances.js';
import { classifyError, describeError, sqlState } from './classify-error.js';
import type { DataTableContext } from './data-table-context.js';
import { inTurns } from './in-turns.js';
import { type Inserted, insertLedgerRows } from './insert-ledger-rows.js';
import { type CountSum, compareWithLedger, keepUnstorable } from './keep-conflicts.js';
import { inParts, type LedgerBatch, ledgerBatch } from './ledger-batch.js';
import { type FoldsBeside, lockAccounts, type Refusal } from './lock-accounts.js';
import { notCanonical } from './not-canonical.js';
import { readLedgerId } from './read-ledger-id.js';
import { inTransaction, type TransactionEnd } from './sql-transaction.js';
import { toWatermark, WATERMARK_COLUMNS } from './watermark-row.js';
import { withSavepoint } from './with-savepoint.js';

/**
 * Applies a range of a shard's log to the data table in one SQL transaction.
 *
 * Lock order, of the direct path, too: the folds' own advisory lock, the tables as a whole (both shared), the watermark, the
 * ledger's keys, the account rows ascending. The watermark row decides whether anything happens at all, and moves over the
 * whole range in the same transaction, so whatever is repeated happens once.
 *
 * The ledger comes before the accounts since it is most of the work, and nobody waits for rows that are new: so a hot
 * account is locked for the change of its balance alone, and the folds of several pools copy side by side. What an
 * account then has against it is written over its ledger rows, which is seldom.
 *
 * Folds run alongside each other and wait for each other's rows. Where a row does not come in time, the fold begins again
 * with the advisory lock to itself, when no other fold holds a row: what is locked then is locked by somebody else, and
 * only that is set aside. Otherwise one row that is locked for long would have the folds that wait for it set aside each
 * other's accounts.
 */
export async function foldTransaction(context: DataTableContext, request: FoldRequest): Promise<FoldOutcome> {
  const run = (beside: FoldsBeside, accounts: FoldsBeside | undefined): Promise<FoldOutcome | Held> =>
    inTransaction(context.pool, context.limits, (client) => fold(client, context, request, beside, accounts));
  try {
    let outcome = await run('alongside', 'alongside');
    // Only who has waited for the accounts need not do so again.
    if (outcome === 'key held') outcome = await run('alone', undefined);
    else if (outcome === 'account held') outcome = await run('alone', 'alone');
    if (typeof outcome === 'string') throw new RangeError('a fold that is alone waited for another');
    return outcome;
  } catch (error) {
    if (error instanceof BlockedError) return { outcome: 'blocked', detail: error.message };
    throw error;
  }
}

/** What did not come in time, where others fold, too. */
type Held = 'key held' | 'account held';

async function fold(
  client: pg.PoolClient,
  context: DataTableContext,
  request: FoldRequest,
  beside: FoldsBeside,
  accounts: FoldsBeside | undefined,
): Promise<TransactionEnd<FoldOutcome | Held>> {
  if (context.bulk === 'copy') await writeOutSteadily(client);
  await lockFolds(client, context, beside);
  await lockTables(client, context);
  const row = await lockWatermark(client, request);
  // A missing row stands for nothing folded only in the ledger that was judged.
  if (row === 'other_ledger') return { commit: false, value: { outcome: 'watermark_differs', watermark: null } };
  if (!sameWatermark(row, request.from)) {
    return { commit: false, value: { outcome: 'watermark_differs', watermark: row } };
  }
  if (row !== null && row.assignment > request.assignment) {
    return { commit: false, value: { outcome: 'superseded', watermark: row } };
  }

  const groups = await inTurns(groupByAccount(request.rows));
  const batch = await inTurns(ledgerBatch(request, groups, (account) => whyUntried(account, context, request)));
  const inserted = await insertUnlessHeld(client, context, batch, beside);
  if (inserted === null) return { commit: false, value: 'key held' };
  const { dropped, conflicts } = await whatWasNotInserted(client, batch, inserted);

  const met = groups.accounts.filter((account, place) => inserted.counts[place]! > 0 && !batch.refused.has(account));
  const locked = await ownSpecific(() => lockAccounts(client, context, met, accounts));
  if (locked === null) return { commit: false, value: 'account held' };
  const changed = await changeBalances(client, context, changes(batch, inserted, locked), request.divisible);
  const late = new Map([...locked, ...changed]);
  await setAsideAfterAll(client, batch, inserted, late);

  const watermark = await advance(client, request, { inserted, dropped, conflicts });
  const setAside = groups.accounts.reduce(
    (count, account, place) => count + (batch.refused.has(account) || late.has(account) ? inserted.counts[place]! : 0),
    0,
  );
  return {
    commit: true,
    value: {
      outcome: 'folded',
      watermark,
      applied: inserted.total - setAside,
      dropped: dropped.count,
      setAside,
      conflicts: conflicts.count,
    },
  };
}

/** `alongside`: null where a key did not come in time, as for accounts (`lockAccounts`). */
async function insertUnlessHeld(
  client: pg.PoolClient,
  { bulk }: DataTableContext,
  batch: LedgerBatch,
  beside: FoldsBeside,
): Promise<Inserted | null> {
  try {
    return await ownSpecific(() => insertLedgerRows(client, batch, bulk));
  } catch (error) {
    if (beside === 'alongside' && sqlState(error) === '55P03') return null;
    throw error;
  }
}

const MET_TOO_OFTEN: Refusal = {
  reason: 'row_locked',
  detail: 'met other transactions too often (deadlock or lock time-out)',
};

/** Any number that is the same in every spill, and no other one of spill's. */
const FOLDS_LOCK = 7_231_480_272;

/**
 * PostgreSQL leaves the pages that a fold pushes out of its buffers to the kernel, and its next checkpoint syncs them all
 * at once: seconds in which the log's own syncs wait, where both are on one disk. So folds have them written out as they
 * go, as checkpoints do with theirs, unless somebody has chosen a value, or this server has no such setting or shows it to
 * nobody: a fold does without it then.
 */
async function writeOutSteadily(client: pg.PoolClient): Promise<void> {
  try {
    await withSavepoint(client, 'writing_out', () =>
      client.query(
        `SELECT set_config(name, '256kB', true) FROM pg_settings
         WHERE name = 'backend_flush_after' AND context = 'user' AND source = 'default'`,
      ),
    );
  } catch (error) {
    if (sqlState(error) !== '42501') throw error;
  }
}

/** Until the end of the transaction. Waits for as long as a statement may, since the folds before may be large. */
async function lockFolds(client: pg.PoolClient, { limits }: DataTableContext, beside: FoldsBeside): Promise<void> {
  const lock = beside === 'alone' ? 'pg_advisory_xact_lock' : 'pg_advisory_xact_lock_shared';
  await client.query(
    `SET LOCAL lock_timeout = ${limits.statementMsMax};
     SELECT ${lock}(${FOLDS_LOCK});
     SET LOCAL lock_timeout = ${limits.lockMsMax}`,
  );
}

/**
 * Takes the locks on whole tables that the fold's statements need anyway, first and together, so that a lock on a
 * whole table by somebody else is told apart from a locked row.
 */
async function lockTables(client: pg.PoolClient, { sql }: DataTableContext): Promise<void> {
  try {
    await client.query(
      `LOCK TABLE ${sql.table}, spill.watermark, spill.ledger, spill.opening, spill.conflict, spill.direct_mark
       IN ROW EXCLUSIVE MODE`,
    );
  } catch (error) {
    if (sqlState(error) === '55P03') throw new BlockedError('a table is locked as a whole by another session');
    throw blockedBySchema(error);
  }
}

/** Statements on spill's own tables, or on the user's table as a whole: what refuses them is no account's fault. */
async function ownSpecific<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    throw blockedBySchema(error);
  }
}

function blockedBySchema(error: unknown): unknown {
  if (sqlState(error) === undefined) return error;
  const kind = classifyError(error);
  return kind === 'schema' || kind === 'statement' ? new BlockedError(describeError(error)) : error;
}

async function lockWatermark(client: pg.PoolClient, request: FoldRequest): Promise<Watermark | null | 'other_ledger'> {
  const read = async () => {
    const result = await client.query(`SELECT ${WATERMARK_COLUMNS} FROM spill.watermark WHERE shard = $1 FOR UPDATE`, [
      request.shard,
    ]);
    return result.rows.length === 0 ? null : toWatermark(result.rows[0]);
  };
  const row = await read();
  if (row !== null || request.from.sequence !== 0) return row;
  if (request.ledgerId !== null && request.ledgerId !== (await readLedgerId(client))) return 'other_ledger';
  const inserted = await client.query(
    `INSERT INTO spill.watermark (shard, pool, log_id, sequence, number, hash, assignment)
     VALUES ($1, $2, $3, 0, $4, $5, $6) ON CONFLICT (shard) DO NOTHING`,
    [request.shard, request.pool, request.from.logId, request.from.number, request.from.hash, request.assignment],
  );
  return inserted.rowCount === 1 ? null : await read();
}

/** Why an account is set aside without a look at its row: it is asked for, or no row has such a key. */
function whyUntried(account: string, { mapping }: DataTableContext, { setAsideAll }: FoldRequest): Refusal | null {
  if (setAsideAll === true) return MET_TOO_OFTEN;
  return isCanonicalAccount(account, mapping) ? null : notCanonical(account, mapping);
}

async function whatWasNotInserted(
  client: pg.PoolClient,
  batch: LedgerBatch,
  inserted: Inserted,
): Promise<{ dropped: CountSum; conflicts: CountSum }> {
  const nothing: CountSum = { count: 0, sum: 0n };
  const met =
    inserted.total === batch.storable.length
      ? { dropped: nothing, conflicts: nothing }
      : await ownSpecific(() => compareWithLedger(client, batch));
  const unstorable = await ownSpecific(() => keepUnstorable(client, batch));
  const accounted = inserted.total + met.dropped.count + met.conflicts.count + unstorable.count;
  if (accounted !== batch.request.rows.length) {
    throw new RangeError(`a fold of ${batch.request.rows.length} transactions accounts for ${accounted}`);
  }
  return {
    dropped: met.dropped,
    conflicts: { count: met.conflicts.count + unstorable.count, sum: met.conflicts.sum + unstorable.sum },
  };
}

/** Of the accounts that are locked. */
function changes({ groups, refused }: LedgerBatch, inserted: Inserted, locked: ReadonlyMap<string, Refusal>): Change[] {
  const list: Change[] = [];
  groups.accounts.forEach((account, place) => {
    if (!refused.has(account) && !locked.has(account)) list.push({ account, delta: inserted.sums[place]! });
  });
  return list;
}

/** Rows inserted as applied whose account then was not to be had, or refused the change. */
async function setAsideAfterAll(
  client: pg.PoolClient,
  batch: LedgerBatch,
  inserted: Inserted,
  late: ReadonlyMap<string, Refusal>,
): Promise<void> {
  if (late.size === 0) return;
  const { groups, storable } = batch;
  const concerned = storable.filter((row) => late.has(groups.accounts[groups.places[row]!]!));
  const expected = groups.accounts.reduce((sum, account, i) => sum + (late.has(account) ? inserted.counts[i]! : 0), 0);
  let changed = 0;
  for (const part of inParts(concerned)) changed += await setAsidePart(client, batch, late, part);
  // One that stayed applied would be in no balance.
  if (changed !== expected) throw new RangeError(`${changed} of ${expected} transactions could be set aside`);
}

async function setAsidePart(
  client: pg.PoolClient,
  { request }: LedgerBatch,
  late: ReadonlyMap<string, Refusal>,
  part: readonly number[],
): Promise<number> {
  const { rows } = request;
  const refusals = part.map((row) => late.get(rows.accounts[row]!)!);
  const result = await client.query(
    `UPDATE spill.ledger l SET state = 'set_aside', reason = u.reason::spill.set_aside_reason, detail = u.detail
     FROM unnest($3::text[], $4::text[], $5::int8[], $6::int4[], $7::text[], $8::text[])
       u(account, id, sequence, record_index, reason, detail)
     WHERE l.account = u.account AND l.id = u.id AND l.shard = $1::int4 AND l.log_id = $2::uuid
       AND l.sequence = u.sequence AND l.record_index = u.record_index`,
    [
      request.shard,
      request.from.logId,
      textArray(part.map((row) => rows.accounts[row]!)),
      textArray(part.map((row) => rows.ids[row]!)),
      safeIntegerArray(part.map((row) => rows.sequences[row]!)),
      int4Array(part.map((row) => rows.indexes[row]!)),
      textArray(refusals.map((refusal) => refusal.reason)),
      textArray(refusals.map((refusal) => refusal.detail)),
    ],
  );
  return result.rowCount ?? 0;
}

async function advance(
  client: pg.PoolClient,
  request: FoldRequest,
  { inserted, dropped, conflicts }: { inserted: Inserted; dropped: CountSum; conflicts: CountSum },
): Promise<Watermark> {
  const foldedSum = inserted.sums.reduce((sum, part) => sum + part, 0n);
  const result = await client.query(
    `UPDATE spill.watermark SET pool = $2, sequence = $3, number = $4, hash = $5,
       assignment = greatest(assignment, $6),
       folded_count = folded_count + $7, folded_sum = folded_sum + $8,
       dropped_count = dropped_count + $9, dropped_sum = dropped_sum + $10,
       conflict_count = conflict_count + $11, conflict_sum = conflict_sum + $12, updated_at = now()
     WHERE shard = $1 RETURNING ${WATERMARK_COLUMNS}`,
    [
      request.shard,
      request.pool,
      request.to.sequence,
      request.to.number,
      request.to.hash,
      request.assignment,
      inserted.total,
      foldedSum.toString(),
      dropped.count,
      dropped.sum.toString(),
      conflicts.count,
      conflicts.sum.toString(),
    ],
  );
  return toWatermark(result.rows[0]);
}
