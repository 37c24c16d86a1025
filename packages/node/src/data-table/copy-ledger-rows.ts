import type { AccountGroups } from '@spill/core';
import type pg from 'pg';
import { writeSafeInteger, writeTimestamp } from './binary-array.js';
import { CopyIn } from './copy-in.js';
import type { LedgerBatch } from './ledger-batch.js';

const COLUMNS = 'account, id, amount, timestamp, shard, log_id, sequence, record_index, state, reason, detail';
const COLUMN_COUNT = 11;
/** Signature, flags, length of the header's extension. */
const HEADER = Buffer.from('PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0', 'latin1');
const TRAILER = Buffer.from([0xff, 0xff]);
/** Some milliseconds' work, between which the shard answers. */
const CHUNK_ROWS = 2_000;
/** Everything of a row but its texts: column count, lengths, numbers, log id, state. */
const FIXED_BYTES = 2 + 4 * COLUMN_COUNT + 8 + 8 + 4 + 16 + 8 + 4 + 'written_off'.length;

/**
 * Inserts ledger rows by binary COPY, the quickest way that there is. Fails with 23505, having inserted nothing, where
 * one of the keys is there already: call it under a savepoint.
 */
export async function copyLedgerRows(client: pg.PoolClient, batch: LedgerBatch): Promise<void> {
  const copy = new CopyIn(`COPY spill.ledger (${COLUMNS}) FROM STDIN WITH (FORMAT binary)`, chunksOf(batch));
  client.query(copy);
  await copy.done;
}

function* chunksOf(batch: LedgerBatch): Generator<Buffer> {
  const { request, groups, storable, refused } = batch;
  // By account, as the ledger's indexes are: neighbouring rows then meet the same pages.
  const ordered = byAccount(storable, groups);
  const texts: GroupTexts = {
    accounts: groups.accounts.map((account) => withLength(Buffer.from(account))),
    endings: groups.accounts.map((account) => ending(refused.get(account))),
    place: Buffer.concat([
      withLength(int4(request.shard)),
      withLength(Buffer.from(request.from.logId.padStart(32, '0'), 'hex')),
    ]),
  };
  yield HEADER;
  for (let from = 0; from < ordered.length; from += CHUNK_ROWS) {
    yield encode(batch, ordered.subarray(from, from + CHUNK_ROWS), texts);
  }
  yield TRAILER;
}

/** What the rows of one account share, by the place of the account, and what all rows do. */
interface GroupTexts {
  readonly accounts: readonly Buffer[];
  readonly endings: readonly Buffer[];
  readonly place: Buffer;
}

function encode({ request, groups }: LedgerBatch, chunk: Int32Array, { accounts, endings, place }: GroupTexts): Buffer {
  const { rows } = request;
  let size = 0;
  for (const row of chunk) {
    const group = groups.places[row]!;
    size += FIXED_BYTES + accounts[group]!.length + rows.ids[row]!.length * 3 + endings[group]!.length;
  }
  const buffer = Buffer.allocUnsafe(size);
  let at = 0;
  for (const row of chunk) {
    const group = groups.places[row]!;
    at = buffer.writeInt16BE(COLUMN_COUNT, at);
    at += accounts[group]!.copy(buffer, at);
    const idBytes = buffer.write(rows.ids[row]!, at + 4);
    buffer.writeInt32BE(idBytes, at);
    at += 4 + idBytes;
    at = buffer.writeInt32BE(8, at);
    at = buffer.writeBigInt64BE(rows.amounts[row]!, at);
    at = buffer.writeInt32BE(8, at);
    at = writeTimestamp(buffer, rows.timestamps[row]!, at);
    at += place.copy(buffer, at);
    at = buffer.writeInt32BE(8, at);
    at = writeSafeInteger(buffer, rows.sequences[row]!, at);
    at = buffer.writeInt32BE(4, at);
    at = buffer.writeInt32BE(rows.indexes[row]!, at);
    at += endings[group]!.copy(buffer, at);
  }
  return buffer.subarray(0, at);
}

/** Rows of one account together, in the order of the log. */
function byAccount(rows: readonly number[], { accounts, places }: AccountGroups): Int32Array {
  const ends = new Int32Array(accounts.length + 1);
  for (const row of rows) ends[places[row]! + 1]! += 1;
  for (let place = 0; place < accounts.length; place++) ends[place + 1]! += ends[place]!;
  const ordered = new Int32Array(rows.length);
  for (const row of rows) ordered[ends[places[row]!]!++] = row;
  return ordered;
}

/** state, reason and detail, which all rows of one account share. */
function ending(refusal: { reason: string; detail: string } | undefined): Buffer {
  if (refusal === undefined) return Buffer.concat([withLength(Buffer.from('applied')), NULL, NULL]);
  return Buffer.concat([
    withLength(Buffer.from('set_aside')),
    withLength(Buffer.from(refusal.reason)),
    withLength(Buffer.from(refusal.detail)),
  ]);
}

const NULL = Buffer.from([0xff, 0xff, 0xff, 0xff]);

function withLength(bytes: Buffer): Buffer {
  return Buffer.concat([int4(bytes.length), bytes]);
}

function int4(value: number): Buffer {
  const buffer = Buffer.allocUnsafe(4);
  buffer.writeInt32BE(value);
  return buffer;
}
