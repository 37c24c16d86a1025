import {
  accountName,
  type Batch,
  BatchBuilder,
  batchAccount,
  batchAmount,
  batchStamped,
  batchTimestamp,
  readBatch,
} from '@spill/core';

/** One row of a batch as a plain object. */
export interface Row {
  readonly account: string;
  readonly id: string;
  readonly amount: bigint;
  /** Microseconds. */
  readonly timestamp: number;
  readonly stamped: boolean;
}

export function batchOf(rows: readonly Row[]): Batch {
  const builder = new BatchBuilder(rows.length);
  for (const row of rows) builder.add(row.account, row.id, row.amount, row.timestamp, row.stamped);
  return readBatch(builder.finish());
}

export function rowsOf(batch: Batch): Row[] {
  const rows: Row[] = [];
  let idAt = batch.idsAt;
  for (let row = 0; row < batch.rows; row++) {
    const idTo = idAt + (batch.bytes[batch.idLengthsAt + row] as number);
    rows.push({
      account: accountName(batch, batchAccount(batch, row)),
      id: new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(batch.bytes.subarray(idAt, idTo)),
      amount: batchAmount(batch, row),
      timestamp: batchTimestamp(batch, row),
      stamped: batchStamped(batch, row),
    });
    idAt = idTo;
  }
  return rows;
}

/**
 * A batch's bytes, written from the description of the format and not with the project's own writer. `dictionary` is
 * taken as it is, so that it may name an account twice or one that no row uses; `accounts` are places in it.
 */
export function rawBatch(
  dictionary: readonly string[],
  rows: readonly (Row & { readonly place: number })[],
): Uint8Array {
  const accounts = Buffer.concat(
    dictionary.map((name) => Buffer.concat([Buffer.of(Buffer.byteLength(name)), Buffer.from(name)])),
  );
  const ids = rows.map((row) => Buffer.from(row.id));
  const idBytes = Buffer.concat(ids);
  const header = Buffer.alloc(20);
  header[0] = 1;
  header.writeUInt32LE(rows.length, 4);
  header.writeUInt32LE(dictionary.length, 8);
  header.writeUInt32LE(accounts.length, 12);
  header.writeUInt32LE(idBytes.length, 16);
  const amounts = Buffer.alloc(8 * rows.length);
  const timestamps = Buffer.alloc(8 * rows.length);
  const places = Buffer.alloc(2 * rows.length);
  const stamped = Buffer.alloc(Math.ceil(rows.length / 8));
  rows.forEach((row, i) => {
    amounts.writeBigInt64LE(row.amount, 8 * i);
    timestamps.writeBigUInt64LE(BigInt(row.timestamp), 8 * i);
    places.writeUInt16LE(row.place, 2 * i);
    if (row.stamped) stamped[i >> 3] = (stamped[i >> 3] as number) | (1 << (i & 7));
  });
  const lengths = Buffer.from(ids.map((id) => id.length));
  return new Uint8Array(Buffer.concat([header, accounts, amounts, timestamps, places, lengths, stamped, idBytes]));
}
