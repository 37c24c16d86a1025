/**
 * A batch: transactions for one shard in columns, as router and SDK send it and as the log keeps it. Little-endian.
 *
 * ```
 *  0 u8  format, 1            4 u32 rows               12 u32 bytes of the accounts
 *  1 u8  0, u16 0             8 u32 accounts           16 u32 bytes of the ids
 * 20 accounts     per account: u8 length, UTF-8
 *    amounts      8 × rows    i64
 *    timestamps   8 × rows    u64, microseconds, at most 2^53−1
 *    account      2 × rows    u16, place in the accounts
 *    id lengths   1 × rows    u8
 *    stamped      bitmap      ⌈rows / 8⌉ bytes, bit i & 7 of byte i >> 3: spill gave the timestamp, not the client
 *    ids          UTF-8, one after the other
 * ```
 *
 * Fixed-width columns let a shard read a row without making objects, and let the log carry the received bytes on.
 */

import { isCleanText } from './text.js';
import { ACCOUNT_BYTES_MAX, ID_BYTES_MAX } from './transaction.js';

export const BATCH_FORMAT = 1;
export const BATCH_HEADER_BYTES = 20;
/** Bytes of one row without its id. */
export const BATCH_ROW_BYTES = 8 + 8 + 2 + 1;
/** A coalesced batch may hold several requests; account numbers are 16 bits wide. */
export const BATCH_ROWS_MAX = 65_535;

export class BatchFormatError extends Error {
  override readonly name = 'BatchFormatError';
}

/** A batch's bytes with the offsets of its columns. Made by `readBatch`, which has checked every byte. */
export interface Batch {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly rows: number;
  readonly accounts: readonly string[];
  readonly amountsAt: number;
  readonly timestampsAt: number;
  readonly accountsAt: number;
  readonly idLengthsAt: number;
  readonly stampedAt: number;
  readonly idsAt: number;
}

// U+FEFF is text like any other: left out, it would make two accounts one.
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/**
 * Reads and checks a batch. `trusted` (a record of one's own log, whose hash was checked) skips the checks of text,
 * amounts and timestamps, not those of lengths.
 *
 * @throws BatchFormatError naming what is wrong.
 */
export function readBatch(bytes: Uint8Array, trusted = false): Batch {
  if (bytes.byteLength < BATCH_HEADER_BYTES) throw new BatchFormatError('a batch is shorter than its header');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes[0] !== BATCH_FORMAT) throw new BatchFormatError(`batch format ${bytes[0]} is unknown`);
  const rows = view.getUint32(4, true);
  const accountCount = view.getUint32(8, true);
  const accountBytes = view.getUint32(12, true);
  const idBytes = view.getUint32(16, true);
  if (rows > BATCH_ROWS_MAX) throw new BatchFormatError(`${rows} rows in a batch, ${BATCH_ROWS_MAX} at most`);
  const amountsAt = BATCH_HEADER_BYTES + accountBytes;
  const timestampsAt = amountsAt + 8 * rows;
  const accountsAt = timestampsAt + 8 * rows;
  const idLengthsAt = accountsAt + 2 * rows;
  const stampedAt = idLengthsAt + rows;
  const idsAt = stampedAt + ((rows + 7) >> 3);
  if (idsAt + idBytes !== bytes.byteLength) throw new BatchFormatError('the lengths in a batch do not add up');
  const accounts = readAccounts(bytes, accountCount, amountsAt);
  const batch = {
    bytes,
    view,
    rows,
    accounts,
    amountsAt,
    timestampsAt,
    accountsAt,
    idLengthsAt,
    stampedAt,
    idsAt,
  };
  checkRows(batch, idBytes, trusted);
  return batch;
}

function readAccounts(bytes: Uint8Array, count: number, end: number): string[] {
  const accounts: string[] = [];
  let at = BATCH_HEADER_BYTES;
  for (let i = 0; i < count; i++) {
    const length = at < end ? (bytes[at] as number) : 0;
    const to = at + 1 + length;
    if (length < 1 || length > ACCOUNT_BYTES_MAX || to > end || !isCleanText(bytes, at + 1, to)) {
      throw new BatchFormatError(`account ${i} of a batch is not 1 to ${ACCOUNT_BYTES_MAX} bytes of clean UTF-8`);
    }
    accounts.push(decoder.decode(bytes.subarray(at + 1, to)));
    at = to;
  }
  if (at !== end) throw new BatchFormatError('the accounts of a batch do not fill their section');
  return accounts;
}

function checkRows(batch: Batch, idBytes: number, trusted: boolean): void {
  const { bytes, view, rows, accounts } = batch;
  let idAt = batch.idsAt;
  for (let row = 0; row < rows; row++) {
    const idTo = idAt + (bytes[batch.idLengthsAt + row] as number);
    if (view.getUint16(batch.accountsAt + 2 * row, true) >= accounts.length) {
      throw new BatchFormatError(`row ${row} names an account that is not in the batch`);
    }
    if (idTo === idAt || idTo - idAt > ID_BYTES_MAX || idTo > bytes.byteLength) {
      throw new BatchFormatError(`the id of row ${row} is not 1 to ${ID_BYTES_MAX} bytes long`);
    }
    if (!trusted) {
      if (!isCleanText(bytes, idAt, idTo)) throw new BatchFormatError(`the id of row ${row} is not clean UTF-8`);
      const low = view.getUint32(batch.amountsAt + 8 * row, true);
      const high = view.getInt32(batch.amountsAt + 8 * row + 4, true);
      if (low === 0 && (high === 0 || high === -0x8000_0000)) {
        throw new BatchFormatError(`the amount of row ${row} is 0 or −2^63`);
      }
      if (view.getUint32(batch.timestampsAt + 8 * row + 4, true) >= 0x20_0000) {
        throw new BatchFormatError(`the timestamp of row ${row} is above 2^53−1`);
      }
    }
    idAt = idTo;
  }
  if (idAt - batch.idsAt !== idBytes) throw new BatchFormatError('the ids of a batch do not fill their section');
}

export function batchAmount(batch: Batch, row: number): bigint {
  return batch.view.getBigInt64(batch.amountsAt + 8 * row, true);
}

/** Microseconds. */
export function batchTimestamp(batch: Batch, row: number): number {
  const at = batch.timestampsAt + 8 * row;
  return batch.view.getUint32(at, true) + batch.view.getUint32(at + 4, true) * 0x1_0000_0000;
}

export function batchAccount(batch: Batch, row: number): number {
  return batch.view.getUint16(batch.accountsAt + 2 * row, true);
}

export function batchStamped(batch: Batch, row: number): boolean {
  return (((batch.bytes[batch.stampedAt + (row >> 3)] as number) >> (row & 7)) & 1) === 1;
}

const encoder = new TextEncoder();

/** Gathers transactions into a batch. Text, amounts and timestamps must have been checked before. */
export class BatchBuilder {
  rows = 0;
  private readonly accountNumbers = new Map<string, number>();
  private accountBytes = 0;
  private idBytes = 0;
  private amounts: BigInt64Array;
  private timestamps: Float64Array;
  private accounts: Uint16Array;
  private idLengths: Uint8Array;
  private stamped: Uint8Array;
  private ids: Uint8Array;

  constructor(rowsHint = 64) {
    this.amounts = new BigInt64Array(rowsHint);
    this.timestamps = new Float64Array(rowsHint);
    this.accounts = new Uint16Array(rowsHint);
    this.idLengths = new Uint8Array(rowsHint);
    this.stamped = new Uint8Array(rowsHint);
    this.ids = new Uint8Array(rowsHint * 24 + ID_BYTES_MAX);
  }

  /** What `finish` would return, in bytes. */
  get byteLength(): number {
    return BATCH_HEADER_BYTES + this.accountBytes + BATCH_ROW_BYTES * this.rows + ((this.rows + 7) >> 3) + this.idBytes;
  }

  /** Adds a row and returns its place. */
  add(account: string, id: string, amount: bigint, timestamp: number, stamped: boolean): number {
    if (this.rows === this.amounts.length) this.growRows();
    if (this.idBytes + ID_BYTES_MAX > this.ids.length) this.growIds();
    let number = this.accountNumbers.get(account);
    if (number === undefined) {
      number = this.accountNumbers.size;
      this.accountNumbers.set(account, number);
      this.accountBytes += 1 + encoder.encode(account).byteLength;
    }
    const row = this.rows++;
    this.amounts[row] = amount;
    this.timestamps[row] = timestamp;
    this.accounts[row] = number;
    this.stamped[row] = stamped ? 1 : 0;
    const written = encoder.encodeInto(id, this.ids.subarray(this.idBytes, this.idBytes + ID_BYTES_MAX)).written;
    this.idLengths[row] = written;
    this.idBytes += written;
    return row;
  }

  finish(): Uint8Array<ArrayBuffer> {
    const rows = this.rows;
    const out = new Uint8Array(this.byteLength);
    const view = new DataView(out.buffer);
    out[0] = BATCH_FORMAT;
    view.setUint32(4, rows, true);
    view.setUint32(8, this.accountNumbers.size, true);
    view.setUint32(12, this.accountBytes, true);
    view.setUint32(16, this.idBytes, true);
    let at = BATCH_HEADER_BYTES;
    for (const account of this.accountNumbers.keys()) {
      const { written } = encoder.encodeInto(account, out.subarray(at + 1));
      out[at] = written;
      at += 1 + written;
    }
    for (let row = 0; row < rows; row++, at += 8) view.setBigInt64(at, this.amounts[row] as bigint, true);
    for (let row = 0; row < rows; row++, at += 8) {
      const timestamp = this.timestamps[row] as number;
      view.setUint32(at, timestamp % 0x1_0000_0000, true);
      view.setUint32(at + 4, Math.floor(timestamp / 0x1_0000_0000), true);
    }
    for (let row = 0; row < rows; row++, at += 2) view.setUint16(at, this.accounts[row] as number, true);
    out.set(this.idLengths.subarray(0, rows), at);
    at += rows;
    for (let row = 0; row < rows; row++) {
      if (this.stamped[row]) out[at + (row >> 3)] = (out[at + (row >> 3)] as number) | (1 << (row & 7));
    }
    at += (rows + 7) >> 3;
    out.set(this.ids.subarray(0, this.idBytes), at);
    return out;
  }

  private growRows(): void {
    const size = Math.max(16, this.rows * 2);
    const grow = <T extends { set(from: T): void }>(next: T, from: T): T => {
      next.set(from);
      return next;
    };
    this.amounts = grow(new BigInt64Array(size), this.amounts);
    this.timestamps = grow(new Float64Array(size), this.timestamps);
    this.accounts = grow(new Uint16Array(size), this.accounts);
    this.idLengths = grow(new Uint8Array(size), this.idLengths);
    this.stamped = grow(new Uint8Array(size), this.stamped);
  }

  private growIds(): void {
    const ids = new Uint8Array(this.ids.length * 2 + ID_BYTES_MAX);
    ids.set(this.ids);
    this.ids = ids;
  }
}
