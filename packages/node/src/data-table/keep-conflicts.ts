import type pg from 'pg';
import { int4Array, int8Array, safeIntegerArray, textArray, timestampArray } from './binary-array.js';
import { inParts, type LedgerBatch, rowParameters } from './ledger-batch.js';

export interface CountSum {
  readonly count: number;
  readonly sum: bigint;
}

export interface NotInserted {
  readonly dropped: CountSum;
  readonly conflicts: CountSum;
}

/**
 * Looks at what the ledger did not take. In a statement of its own, after the insert: inside it, a row that another
 * transaction has just committed would be invisible.
 *
 * The same amount: the transaction has taken effect before, dropped. Another: kept as a conflict. A direct write that
 * the fold now meets is in the ledger and no longer in anybody's pending: its mark goes. Not where the amounts differ:
 * the direct write's own copy may still be pending, in another pool.
 */
export async function compareWithLedger(client: pg.PoolClient, batch: LedgerBatch): Promise<NotInserted> {
  const { storable } = batch;
  let dropped: CountSum = { count: 0, sum: 0n };
  let conflicts: CountSum = { count: 0, sum: 0n };
  for (const part of inParts(storable)) {
    const met = await comparePart(client, batch, part);
    dropped = plus(dropped, met.dropped);
    conflicts = plus(conflicts, met.conflicts);
  }
  return { dropped, conflicts };
}

function plus(a: CountSum, b: CountSum): CountSum {
  return { count: a.count + b.count, sum: a.sum + b.sum };
}

async function comparePart(
  client: pg.PoolClient,
  { request }: LedgerBatch,
  part: readonly number[],
): Promise<NotInserted> {
  const result = await client.query(
    `WITH batch AS (
       SELECT u.*, l.amount AS ledger_amount
       FROM unnest($3::text[], $4::text[], $5::int8[], $6::timestamptz[], $7::int8[], $8::int4[])
         u(account, id, amount, timestamp, sequence, record_index)
       JOIN spill.ledger l ON l.account = u.account AND l.id = u.id
       WHERE (l.shard, l.log_id, l.sequence, l.record_index)
         IS DISTINCT FROM ($1::int4, $2::uuid, u.sequence, u.record_index)
     ), unmarked AS (
       DELETE FROM spill.direct_mark m USING batch b
       WHERE m.account = b.account AND m.id = b.id AND b.amount = b.ledger_amount
     ), kept AS (
       INSERT INTO spill.conflict
         (log_id, sequence, record_index, shard, account, id, amount, timestamp, ledger_amount)
       SELECT $2::uuid, b.sequence, b.record_index, $1::int4, b.account, b.id, b.amount, b.timestamp, b.ledger_amount
       FROM batch b WHERE b.amount <> b.ledger_amount AND NOT EXISTS (
         SELECT FROM spill.conflict c WHERE c.account = b.account AND c.id = b.id AND c.amount = b.amount
           AND c.shard = $1::int4 AND c.sequence = b.sequence AND c.record_index = b.record_index)
       ON CONFLICT (log_id, sequence, record_index) DO NOTHING
     )
     SELECT count(*) FILTER (WHERE amount = ledger_amount)::int AS dropped,
       coalesce(sum(amount) FILTER (WHERE amount = ledger_amount), 0)::text AS dropped_sum,
       count(*) FILTER (WHERE amount <> ledger_amount)::int AS conflicts,
       coalesce(sum(amount) FILTER (WHERE amount <> ledger_amount), 0)::text AS conflict_sum
     FROM batch`,
    [request.shard, request.from.logId, ...rowParameters(request.rows, part)],
  );
  const row = result.rows[0];
  return {
    dropped: { count: row.dropped, sum: BigInt(row.dropped_sum) },
    conflicts: { count: row.conflicts, sum: BigInt(row.conflict_sum) },
  };
}

/** Keeps transactions whose texts no text column can hold, escaped, as conflicts: seen by an operator, in no balance. */
export async function keepUnstorable(client: pg.PoolClient, batch: LedgerBatch): Promise<CountSum> {
  const { request, unstorable } = batch;
  const { rows } = request;
  if (unstorable.length === 0) return { count: 0, sum: 0n };
  await client.query(
    `INSERT INTO spill.conflict (log_id, sequence, record_index, shard, account, id, amount, timestamp, detail)
     SELECT $2::uuid, u.sequence, u.record_index, $1::int4, u.account, u.id, u.amount, u.timestamp,
       'account or id can''t be stored as text; shown escaped'
     FROM unnest($3::text[], $4::text[], $5::int8[], $6::timestamptz[], $7::int8[], $8::int4[])
       u(account, id, amount, timestamp, sequence, record_index)
     ON CONFLICT (log_id, sequence, record_index) DO NOTHING`,
    [
      request.shard,
      request.from.logId,
      textArray(unstorable.map((row) => escaped(rows.accounts[row]!))),
      textArray(unstorable.map((row) => escaped(rows.ids[row]!))),
      int8Array(unstorable.map((row) => rows.amounts[row]!)),
      timestampArray(unstorable.map((row) => rows.timestamps[row]!)),
      safeIntegerArray(unstorable.map((row) => rows.sequences[row]!)),
      int4Array(unstorable.map((row) => rows.indexes[row]!)),
    ],
  );
  return { count: unstorable.length, sum: unstorable.reduce((sum, row) => sum + rows.amounts[row]!, 0n) };
}

/** As JSON would write it: U+0000 and lone surrogates as \uXXXX. */
function escaped(text: string): string {
  return JSON.stringify(text).slice(1, -1);
}
