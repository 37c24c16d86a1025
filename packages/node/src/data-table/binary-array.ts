/**
 * PostgreSQL arrays in binary form. `pg` sends a Buffer as a binary parameter; the server then parses no text, which
 * at 10,000 rows a statement is a good part of its time.
 * Format: dimensions, has-null flag, element oid, length, lower bound, then each element with its length.
 */
const HEADER_BYTES = 20;
const OID = { int8: 20, int4: 23, text: 25, timestamptz: 1184 } as const;

/** Microseconds between 1970 and 2000, where PostgreSQL begins to count. */
const EPOCH_MICROSECONDS = 946_684_800_000_000;

export function textArray(values: readonly string[]): Buffer {
  let size = HEADER_BYTES;
  for (const value of values) size += 4 + Buffer.byteLength(value);
  const buffer = Buffer.allocUnsafe(size);
  let at = writeHeader(buffer, OID.text, values.length);
  for (const value of values) {
    const length = buffer.write(value, at + 4);
    buffer.writeInt32BE(length, at);
    at += 4 + length;
  }
  return buffer;
}

/** Every value must be within 64 bits. */
export function int8Array(values: readonly bigint[]): Buffer {
  const buffer = Buffer.allocUnsafe(HEADER_BYTES + 12 * values.length);
  let at = writeHeader(buffer, OID.int8, values.length);
  for (const value of values) {
    buffer.writeInt32BE(8, at);
    buffer.writeBigInt64BE(value, at + 4);
    at += 12;
  }
  return buffer;
}

/** Safe integers as int8. */
export function safeIntegerArray(values: readonly number[]): Buffer {
  return safeIntegers(values, OID.int8, 0);
}

/** Microseconds since 1970 as timestamptz, exactly. */
export function timestampArray(values: readonly number[]): Buffer {
  return safeIntegers(values, OID.timestamptz, EPOCH_MICROSECONDS);
}

export function int4Array(values: ArrayLike<number>): Buffer {
  const buffer = Buffer.allocUnsafe(HEADER_BYTES + 8 * values.length);
  let at = writeHeader(buffer, OID.int4, values.length);
  for (let i = 0; i < values.length; i += 1) {
    buffer.writeInt32BE(4, at);
    buffer.writeInt32BE(values[i]!, at + 4);
    at += 8;
  }
  return buffer;
}

/** One timestamptz parameter. */
export function timestampParameter(microseconds: number): Buffer {
  const buffer = Buffer.allocUnsafe(8);
  writeSafeInteger(buffer, microseconds - EPOCH_MICROSECONDS, 0);
  return buffer;
}

/** Writes a safe integer as int8, without making a bigint of it. Returns the next place. */
export function writeSafeInteger(buffer: Buffer, value: number, at: number): number {
  const high = Math.floor(value / 2 ** 32);
  buffer.writeInt32BE(high, at);
  return buffer.writeUInt32BE(value - high * 2 ** 32, at + 4);
}

/** Writes microseconds since 1970 as a binary timestamptz. Returns the next place. */
export function writeTimestamp(buffer: Buffer, microseconds: number, at: number): number {
  return writeSafeInteger(buffer, microseconds - EPOCH_MICROSECONDS, at);
}

function safeIntegers(values: readonly number[], oid: number, offset: number): Buffer {
  const buffer = Buffer.allocUnsafe(HEADER_BYTES + 12 * values.length);
  let at = writeHeader(buffer, oid, values.length);
  for (const value of values) {
    buffer.writeInt32BE(8, at);
    at = writeSafeInteger(buffer, value - offset, at + 4);
  }
  return buffer;
}

function writeHeader(buffer: Buffer, oid: number, length: number): number {
  buffer.writeInt32BE(1, 0);
  buffer.writeInt32BE(0, 4);
  buffer.writeInt32BE(oid, 8);
  buffer.writeInt32BE(length, 12);
  return buffer.writeInt32BE(1, 16);
}
