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

import { AccountDictionary } from './account-dictionary.js';
import { isCleanText } from './text.js';
import { ACCOUNT_BYTES_MAX, ID_BYTES_MAX } from './transaction.js';
import { writeText } from './write-text.js';

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
  readonly accountCount: number;
  /** One more than there are accounts: account i lies in [starts[i], starts[i + 1] − 1), before the next one's length. */
  readonly accountStarts: Uint32Array;
  /** Of the accounts that somebody has asked for (`accountName`). */
  readonly accountNames: (string | undefined)[];
  readonly amountsAt: number;
  readonly timestampsAt: number;
  readonly accountsAt: number;
  readonly idLengthsAt: number;
  readonly stampedAt: number;
  readonly idsAt: number;
}

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
  const batch = {
    bytes,
    view,
    rows,
    accountCount,
    accountStarts: readAccounts(bytes, accountCount, amountsAt),
    accountNames: [],
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

function readAccounts(bytes: Uint8Array, count: number, end: number): Uint32Array {
  // Each takes two bytes at least, so that a count from hostile bytes reserves little.
  if (count > (end - BATCH_HEADER_BYTES) / 2) throw new BatchFormatError(`${count} accounts do not fit their section`);
  const starts = new Uint32Array(count + 1);
  let at = BATCH_HEADER_BYTES;
  for (let i = 0; i < count; i++) {
    const length = at < end ? (bytes[at] as number) : 0;
    const from = at + 1;
    const to = from + length;
    if (length < 1 || length > ACCOUNT_BYTES_MAX || to > end || !isCleanText(bytes, from, to)) {
      throw new BatchFormatError(`account ${i} of a batch is not 1 to ${ACCOUNT_BYTES_MAX} bytes of clean UTF-8`);
    }
    starts[i] = from;
    at = to;
  }
  starts[count] = at + 1;
  if (at !== end) throw new BatchFormatError('the accounts of a batch do not fill their section');
  return starts;
}

function checkRows(batch: Batch, idBytes: number, trusted: boolean): void {
  const { bytes, view, rows, accountCount } = batch;
  let idAt = batch.idsAt;
  for (let row = 0; row < rows; row++) {
    const idTo = idAt + (bytes[batch.idLengthsAt + row] as number);
    if (view.getUint16(batch.accountsAt + 2 * row, true) >= accountCount) {
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

/** The place of a row's account among the batch's. */
export function batchAccount(batch: Batch, row: number): number {
  return batch.view.getUint16(batch.accountsAt + 2 * row, true);
}

/** Made where it is asked for: most accounts are known, and are compared by their bytes (`isAccountName`). */
export function accountName(batch: Batch, place: number): string {
  const known = batch.accountNames[place];
  if (known !== undefined) return known;
  const { buffer, byteOffset, byteLength } = batch.bytes;
  const text = Buffer.from(buffer, byteOffset, byteLength);
  const name = text.toString('utf8', batch.accountStarts[place], (batch.accountStarts[place + 1] as number) - 1);
  batch.accountNames[place] = name;
  return name;
}

export function isAccountName(batch: Batch, place: number, name: string): boolean {
  const { bytes, accountStarts } = batch;
  const from = accountStarts[place] as number;
  if ((accountStarts[place + 1] as number) - 1 - from !== name.length) return accountName(batch, place) === name;
  for (let i = 0; i < name.length; i++) {
    const unit = name.charCodeAt(i);
    if (unit !== bytes[from + i]) return false;
    // A character takes two bytes or more from here on, so that it is not this byte.
    if (unit >= 0x80) return false;
  }
  return true;
}

export function isSameAccount(batch: Batch, a: number, b: number): boolean {
  if (a === b) return true;
  const { bytes, accountStarts } = batch;
  const from = accountStarts[a] as number;
  const to = (accountStarts[a + 1] as number) - 1;
  const other = accountStarts[b] as number;
  if (to - from !== (accountStarts[b + 1] as number) - 1 - other) return false;
  for (let i = from; i < to; i++) if (bytes[i] !== bytes[other + i - from]) return false;
  return true;
}

export function batchStamped(batch: Batch, row: number): boolean {
  return (((batch.bytes[batch.stampedAt + (row >> 3)] as number) >> (row & 7)) & 1) === 1;
}

/**
 * Gathers transactions into a batch. Text, amounts and timestamps must have been checked before. Each column is kept as
 * it will lie in the batch, so that `finish` only puts them one after the other.
 */
export class BatchBuilder {
  rows = 0;
  private readonly dictionary = new AccountDictionary();
  private lastAccount: string | null = null;
  private lastNumber = 0;
  private idBytes = 0;
  private rowsMax: number;
  private amounts: DataView<ArrayBuffer>;
  private timestamps: DataView<ArrayBuffer>;
  private accounts: DataView<ArrayBuffer>;
  private idLengths: Uint8Array<ArrayBuffer>;
  private stamped: Uint8Array<ArrayBuffer>;
  private ids: Uint8Array<ArrayBuffer>;

  constructor(rowsHint = 64) {
    this.rowsMax = Math.max(16, rowsHint);
    this.amounts = new DataView(new ArrayBuffer(8 * this.rowsMax));
    this.timestamps = new DataView(new ArrayBuffer(8 * this.rowsMax));
    this.accounts = new DataView(new ArrayBuffer(2 * this.rowsMax));
    this.idLengths = new Uint8Array(this.rowsMax);
    this.stamped = new Uint8Array((this.rowsMax + 7) >> 3);
    this.ids = new Uint8Array(this.rowsMax * 16 + ID_BYTES_MAX);
  }

  /** What `finish` would return, in bytes. */
  get byteLength(): number {
    const { rows, idBytes, dictionary } = this;
    return BATCH_HEADER_BYTES + dictionary.byteLength + BATCH_ROW_BYTES * rows + ((rows + 7) >> 3) + idBytes;
  }

  /** Adds a row and returns its place. */
  add(account: string, id: string, amount: bigint, timestamp: number, stamped: boolean): number {
    const row = this.begin(account, amount, timestamp, stamped);
    const length = writeText(this.ids, this.idBytes, id, ID_BYTES_MAX);
    this.idLengths[row] = length;
    this.idBytes += length;
    return row;
  }

  /** The same for an id that is there in UTF-8 already: the bytes from `idFrom` to before `idTo`. */
  addEncoded(
    account: string,
    bytes: Uint8Array,
    idFrom: number,
    idTo: number,
    amount: bigint,
    timestamp: number,
    stamped: boolean,
  ): number {
    const row = this.begin(account, amount, timestamp, stamped);
    const { ids } = this;
    let at = this.idBytes;
    for (let from = idFrom; from < idTo; from++) ids[at++] = bytes[from] as number;
    this.idLengths[row] = idTo - idFrom;
    this.idBytes = at;
    return row;
  }

  finish(): Uint8Array<ArrayBuffer> {
    const { rows, dictionary } = this;
    const out = new Uint8Array(this.byteLength);
    const view = new DataView(out.buffer);
    out[0] = BATCH_FORMAT;
    view.setUint32(4, rows, true);
    view.setUint32(8, dictionary.count, true);
    view.setUint32(12, dictionary.byteLength, true);
    view.setUint32(16, this.idBytes, true);
    let at = BATCH_HEADER_BYTES;
    const append = (column: ArrayBuffer, bytes: number): void => {
      out.set(new Uint8Array(column, 0, bytes), at);
      at += bytes;
    };
    append(dictionary.bytes.buffer, dictionary.byteLength);
    append(this.amounts.buffer, 8 * rows);
    append(this.timestamps.buffer, 8 * rows);
    append(this.accounts.buffer, 2 * rows);
    append(this.idLengths.buffer, rows);
    append(this.stamped.buffer, (rows + 7) >> 3);
    append(this.ids.buffer, this.idBytes);
    return out;
  }

  /** Empty again, with the memory that it has. */
  clear(): void {
    this.rows = 0;
    this.idBytes = 0;
    this.stamped.fill(0);
    this.dictionary.clear();
    this.lastAccount = null;
  }

  /** A row without its id, and room for one. */
  private begin(account: string, amount: bigint, timestamp: number, stamped: boolean): number {
    if (this.rows === this.rowsMax) this.growRows();
    if (this.idBytes + ID_BYTES_MAX > this.ids.length) this.ids = enlarged(this.ids, this.ids.length * 2);
    const row = this.rows++;
    this.amounts.setBigInt64(8 * row, amount, true);
    this.timestamps.setUint32(8 * row, timestamp % 0x1_0000_0000, true);
    this.timestamps.setUint32(8 * row + 4, Math.floor(timestamp / 0x1_0000_0000), true);
    this.accounts.setUint16(2 * row, account === this.lastAccount ? this.lastNumber : this.numberOf(account), true);
    if (stamped) this.stamped[row >> 3] = (this.stamped[row >> 3] as number) | (1 << (row & 7));
    return row;
  }

  private numberOf(account: string): number {
    this.lastNumber = this.dictionary.numberOf(account);
    this.lastAccount = account;
    return this.lastNumber;
  }

  private growRows(): void {
    this.rowsMax *= 2;
    this.amounts = new DataView(enlarged(new Uint8Array(this.amounts.buffer), 8 * this.rowsMax).buffer);
    this.timestamps = new DataView(enlarged(new Uint8Array(this.timestamps.buffer), 8 * this.rowsMax).buffer);
    this.accounts = new DataView(enlarged(new Uint8Array(this.accounts.buffer), 2 * this.rowsMax).buffer);
    this.idLengths = enlarged(this.idLengths, this.rowsMax);
    this.stamped = enlarged(this.stamped, (this.rowsMax + 7) >> 3);
  }
}

function enlarged(from: Uint8Array<ArrayBuffer>, bytes: number): Uint8Array<ArrayBuffer> {
  const to = new Uint8Array(bytes);
  to.set(from);
  return to;
}
