import type pg from 'pg';
import { textArray } from './binary-array.js';
import { sqlState } from './classify-error.js';
import { copyLedgerRows } from './copy-ledger-rows.js';
import { inParts, type LedgerBatch, rowParameters } from './ledger-batch.js';
import { withSavepoint } from './with-savepoint.js';

/** What the ledger really took, by the place of the account in the batch's groups. */
export interface Inserted {
  readonly counts: readonly number[];
  readonly sums: readonly bigint[];
  readonly total: number;
}

/**
 * Inserts the batch's ledger rows where their key is not there yet. COPY first, since a key that is there already is
 * rare: only a fold that is repeated, or an id that its shard had forgotten, meets one. Then row by row with ON
 * CONFLICT DO NOTHING, which also takes the first of two equal keys in one batch.
 */
export async function insertLedgerRows(
  client: pg.PoolClient,
  batch: LedgerBatch,
  bulk: 'copy' | 'unnest',
): Promise<Inserted> {
  if (bulk === 'unnest') return insertNew(client, batch);
  try {
    await withSavepoint(client, 'copying', () => copyLedgerRows(client, batch));
  } catch (error) {
    if (sqlState(error) === '23505') return insertNew(client, batch);
    throw error;
  }
  return everything(batch);
}

async function insertNew(client: pg.PoolClient, batch: LedgerBatch): Promise<Inserted> {
  const { groups, storable } = batch;
  const placeOf = new Map(groups.accounts.map((account, place) => [account, place]));
  const counts = new Array<number>(groups.accounts.length).fill(0);
  const sums = new Array<bigint>(groups.accounts.length).fill(0n);
  let total = 0;
  for (const part of inParts(storable)) {
    const inserted = await insertPart(client, batch, part);
    for (const { account, count, sum } of inserted) {
      const place = placeOf.get(account)!;
      counts[place] = counts[place]! + count;
      sums[place] = sums[place]! + BigInt(sum);
      total += count;
    }
  }
  return { counts, sums, total };
}

async function insertPart(
  client: pg.PoolClient,
  { request, refused }: LedgerBatch,
  part: readonly number[],
): Promise<{ account: string; count: number; sum: string }[]> {
  const result = await client.query(
    `WITH batch AS (
       SELECT u.account, u.id, u.amount, u.timestamp, u.sequence, u.record_index, s.reason, s.detail
       FROM unnest($3::text[], $4::text[], $5::int8[], $6::timestamptz[], $7::int8[], $8::int4[])
         u(account, id, amount, timestamp, sequence, record_index)
       LEFT JOIN unnest($9::text[], $10::text[], $11::text[]) s(account, reason, detail)
         ON s.account = u.account COLLATE "C"
     ), inserted AS (
       INSERT INTO spill.ledger
         (account, id, amount, timestamp, shard, log_id, sequence, record_index, state, reason, detail)
       SELECT account, id, amount, timestamp, $1::int4, $2::uuid, sequence, record_index,
         CASE WHEN reason IS NULL THEN 'applied' ELSE 'set_aside' END::spill.ledger_state,
         reason::spill.set_aside_reason, detail
       FROM batch ORDER BY sequence, record_index
       ON CONFLICT (account, id) DO NOTHING
       RETURNING account, amount
     ) SELECT account, count(*)::int AS count, sum(amount)::text AS sum FROM inserted GROUP BY account`,
    [
      request.shard,
      request.from.logId,
      ...rowParameters(request.rows, part),
      textArray([...refused.keys()]),
      textArray([...refused.values()].map((refusal) => refusal.reason)),
      textArray([...refused.values()].map((refusal) => refusal.detail)),
    ],
  );
  return result.rows;
}

function everything({ request, groups, storable, unstorable }: LedgerBatch): Inserted {
  if (unstorable.length === 0) return { counts: groups.counts, sums: groups.sums, total: storable.length };
  const counts = [...groups.counts];
  const sums = [...groups.sums];
  for (const row of unstorable) {
    const place = groups.places[row]!;
    counts[place] = counts[place]! - 1;
    sums[place] = sums[place]! - request.rows.amounts[row]!;
  }
  return { counts, sums, total: storable.length };
}
