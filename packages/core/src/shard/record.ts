/**
 * A record: one message of a shard's log, one group commit. Little-endian.
 *
 * ```
 *  0 u32 format, 1                       64 u64 running sum, low half (two's complement, 128 bits)
 *  4 u32 events                          72 i64 running sum, high half
 *  8     log id, 16 bytes                80 f64 replay from: first sequence still needed
 * 24     hash of the record before, 16   88 f64 epoch: highest acted on
 * 40 f64 assignment                      96 events: u8 type, u8 0, u16 0, u32 bytes, body
 * 48 f64 number, dense from 1
 * 56 f64 running count of transactions
 * ```
 *
 * The body of `stored` is u32 bytes of the bitmap (0: all rows), the bitmap, the batch; every other body is JSON.
 * The hash of a record is the first 16 bytes of SHA-256 over all its bytes.
 */
import { createHash } from 'node:crypto';
import { BatchFormatError, readBatch } from '../transaction/batch.js';
import type { ShardEvent, Stored } from './events.js';

export const RECORD_FORMAT = 1;
export const RECORD_HEADER_BYTES = 96;
const EVENT_HEADER_BYTES = 8;
export const NO_HASH = '0'.repeat(32);

const TYPES = [
  'created',
  'opened',
  'stored',
  'forgotten',
  'checkpoint',
  'epoch',
  'sealed',
  'unsealed',
  'closed',
  'horizon_set',
  'rebased',
] as const satisfies readonly ShardEvent['type'][];

export interface RecordHeader {
  /** 32 hexadecimal digits. */
  readonly logId: string;
  /** Hash of the record before, 32 hexadecimal digits. */
  readonly previous: string;
  readonly assignment: number;
  readonly number: number;
  readonly count: number;
  readonly sum: bigint;
  readonly replayFrom: number;
  readonly epoch: number;
}

export interface LogRecord extends RecordHeader {
  readonly events: readonly ShardEvent[];
}

export class RecordFormatError extends Error {
  override readonly name = 'RecordFormatError';
}

/** The first 16 bytes of SHA-256, in hexadecimal. */
export function recordHash(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex').slice(0, 32);
}

/** Bytes that an event takes in a record. */
export function eventBytes(event: ShardEvent): number {
  return EVENT_HEADER_BYTES + (event.type === 'stored' ? storedBytes(event) : jsonBody(event).byteLength);
}

export function writeRecord(record: LogRecord): Uint8Array<ArrayBuffer> {
  const bodies = record.events.map((event) => (event.type === 'stored' ? null : jsonBody(event)));
  let size = RECORD_HEADER_BYTES;
  record.events.forEach((event, i) => {
    size += EVENT_HEADER_BYTES + (event.type === 'stored' ? storedBytes(event) : bodies[i]!.byteLength);
  });
  const out = new Uint8Array(size);
  const view = new DataView(out.buffer);
  view.setUint32(0, RECORD_FORMAT, true);
  view.setUint32(4, record.events.length, true);
  out.set(Buffer.from(record.logId, 'hex'), 8);
  out.set(Buffer.from(record.previous, 'hex'), 24);
  view.setFloat64(40, record.assignment, true);
  view.setFloat64(48, record.number, true);
  view.setFloat64(56, record.count, true);
  view.setBigUint64(64, BigInt.asUintN(64, record.sum), true);
  view.setBigInt64(72, BigInt.asIntN(64, record.sum >> 64n), true);
  view.setFloat64(80, record.replayFrom, true);
  view.setFloat64(88, record.epoch, true);
  let at = RECORD_HEADER_BYTES;
  record.events.forEach((event, i) => {
    out[at] = TYPES.indexOf(event.type);
    if (event.type === 'stored') {
      view.setUint32(at + 4, storedBytes(event), true);
      at = writeStored(event, out, view, at + EVENT_HEADER_BYTES);
    } else {
      const body = bodies[i]!;
      view.setUint32(at + 4, body.byteLength, true);
      out.set(body, at + EVENT_HEADER_BYTES);
      at += EVENT_HEADER_BYTES + body.byteLength;
    }
  });
  return out;
}

/** @throws RecordFormatError where the bytes are no record of this format. */
export function readRecord(bytes: Uint8Array): LogRecord {
  const header = readRecordHeader(bytes);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const events: ShardEvent[] = [];
  const count = view.getUint32(4, true);
  let at = RECORD_HEADER_BYTES;
  for (let i = 0; i < count; i++) {
    if (at + EVENT_HEADER_BYTES > bytes.byteLength) throw new RecordFormatError('a record ends within an event');
    const to = at + EVENT_HEADER_BYTES + view.getUint32(at + 4, true);
    const type = TYPES[bytes[at] as number];
    if (!type || to > bytes.byteLength) throw new RecordFormatError(`event ${i} of a record is unknown or too long`);
    events.push(readEvent(type, bytes.subarray(at + EVENT_HEADER_BYTES, to)));
    at = to;
  }
  if (at !== bytes.byteLength) throw new RecordFormatError('a record is longer than its events');
  return { ...header, events };
}

/** Only the header. @throws RecordFormatError */
export function readRecordHeader(bytes: Uint8Array): RecordHeader {
  if (bytes.byteLength < RECORD_HEADER_BYTES) throw new RecordFormatError('a record is shorter than its header');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const format = view.getUint32(0, true);
  if (format !== RECORD_FORMAT) {
    throw new RecordFormatError(`record format ${format} is unknown to this release, which writes ${RECORD_FORMAT}`);
  }
  return {
    logId: hex(bytes, 8),
    previous: hex(bytes, 24),
    assignment: whole(view, 40, 'assignment'),
    number: whole(view, 48, 'number'),
    count: whole(view, 56, 'count'),
    sum: (view.getBigInt64(72, true) << 64n) | view.getBigUint64(64, true),
    replayFrom: whole(view, 80, 'replay from'),
    epoch: whole(view, 88, 'epoch'),
  };
}

function whole(view: DataView, at: number, name: string): number {
  const value = view.getFloat64(at, true);
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw new RecordFormatError(`the ${name} of a record is ${value}, no whole number`);
}

function storedBytes(event: Stored): number {
  return 4 + (event.accepted?.byteLength ?? 0) + event.batch.bytes.byteLength;
}

function writeStored(event: Stored, out: Uint8Array, view: DataView, at: number): number {
  const bitmap = event.accepted;
  view.setUint32(at, bitmap?.byteLength ?? 0, true);
  if (bitmap) out.set(bitmap, at + 4);
  const batchAt = at + 4 + (bitmap?.byteLength ?? 0);
  out.set(event.batch.bytes, batchAt);
  return batchAt + event.batch.bytes.byteLength;
}

function readEvent(type: ShardEvent['type'], body: Uint8Array): ShardEvent {
  try {
    if (type === 'stored') return readStored(body);
    const fields = JSON.parse(Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString('utf8'));
    checkFields(type, fields);
    return { ...fields, type };
  } catch (error) {
    if (error instanceof BatchFormatError || error instanceof SyntaxError) {
      throw new RecordFormatError(`an event ${type} cannot be read: ${error.message}`, { cause: error });
    }
    throw error;
  }
}

/** Of an event whose bytes may have been altered: what the replay computes with must be there. */
function checkFields(type: ShardEvent['type'], fields: Record<string, unknown>): void {
  const holds = (of: Record<string, unknown>, ...names: string[]): boolean =>
    names.every((name) => Number.isSafeInteger(of?.[name]));
  const small = fields?.small as Record<string, unknown>;
  const right: Partial<Record<ShardEvent['type'], () => boolean>> = {
    created: () => isSmallState(small),
    checkpoint: () => isSmallState(small),
    rebased: () => isSmallState(small) && holds(fields, 'assignment'),
    opened: () => holds(fields, 'assignment'),
    forgotten: () => holds(fields, 'horizon', 'foldedUpTo'),
    epoch: () => holds(fields, 'epoch'),
    sealed: () => holds(fields, 'migration') && Array.isArray(fields.slots),
    unsealed: () => holds(fields, 'migration'),
    horizon_set: () => holds(fields, 'horizon'),
  };
  if (right[type]?.() === false) throw new RecordFormatError(`an event ${type} lacks a field`);

  function isSmallState(of: Record<string, unknown>): boolean {
    return (
      holds(of, 'horizon', 'forgottenBelow', 'foldedUpTo', 'epoch') &&
      Array.isArray(of?.seals) &&
      (of?.forgottenAlso === undefined || Array.isArray(of?.forgottenAlso))
    );
  }
}

function readStored(body: Uint8Array): Stored {
  if (body.byteLength < 4) throw new RecordFormatError('an event stored is shorter than its header');
  const bitmapBytes = new DataView(body.buffer, body.byteOffset).getUint32(0, true);
  // The record's hash vouches for what an earlier shard checked.
  const batch = readBatch(body.subarray(4 + bitmapBytes), true);
  if (bitmapBytes === 0) return { type: 'stored', batch, accepted: null, count: batch.rows };
  if (bitmapBytes !== (batch.rows + 7) >> 3) throw new RecordFormatError('a bitmap does not fit its batch');
  const accepted = body.subarray(4, 4 + bitmapBytes);
  let count = 0;
  for (let row = 0; row < batch.rows; row++) count += ((accepted[row >> 3] as number) >> (row & 7)) & 1;
  return { type: 'stored', batch, accepted, count };
}

const encoder = new TextEncoder();

function jsonBody(event: Exclude<ShardEvent, Stored>): Uint8Array {
  const { type: _, ...body } = event;
  return encoder.encode(JSON.stringify(body));
}

function hex(bytes: Uint8Array, at: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + at, 16).toString('hex');
}
