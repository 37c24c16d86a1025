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
 * The body of `stored` is u32 bytes of the bitmap (0: all rows), the bitmap, the batch. That of `adopted` is u32 bytes
 * of JSON, the JSON, u32 bytes of the batch, the batch, and per row u32 first shard, then f64 first sequence. Every other
 * body is JSON.
 * The hash of a record is the first 16 bytes of SHA-256 over all its bytes.
 */
import { createHash } from 'node:crypto';
import { BatchFormatError, readBatch } from '../transaction/batch.js';
import { type Adopted, accepts, type ShardEvent, type SmallState, type Stored } from './events.js';

export const RECORD_FORMAT = 1;
export const RECORD_HEADER_BYTES = 96;
const EVENT_HEADER_BYTES = 8;
const NOTHING = new Uint8Array();
const encoder = new TextEncoder();
export const NO_HASH = '0'.repeat(32);

const TYPES = [
  'created',
  'opened',
  'stored',
  'forgotten',
  'checkpoint',
  'epoch',
  'sealed',
  'settled',
  'closed',
  'horizon_set',
  'rebased',
  'adopted',
  'ready',
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

/** The first record of a new shard's log. */
export function firstRecord(shard: number, logId: string, small: SmallState): Uint8Array<ArrayBuffer> {
  return writeRecord({
    logId,
    previous: NO_HASH,
    assignment: 0,
    number: 1,
    count: 0,
    sum: 0n,
    replayFrom: 1,
    epoch: small.epoch,
    events: [{ type: 'created', shard, small }],
  });
}

/** Bytes that an event takes in a record. */
export function eventBytes(event: ShardEvent): number {
  return EVENT_HEADER_BYTES + byteLength(bodyParts(event));
}

export function writeRecord(record: LogRecord): Uint8Array<ArrayBuffer> {
  const bodies = record.events.map(bodyParts);
  const size = bodies.reduce((sum, parts) => sum + EVENT_HEADER_BYTES + byteLength(parts), RECORD_HEADER_BYTES);
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
    const parts = bodies[i] as readonly Uint8Array[];
    out[at] = TYPES.indexOf(event.type);
    view.setUint32(at + 4, byteLength(parts), true);
    at += EVENT_HEADER_BYTES;
    for (const part of parts) {
      out.set(part, at);
      at += part.byteLength;
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

/** The body of an event, in parts, so that a batch is copied only once. */
function bodyParts(event: ShardEvent): readonly Uint8Array[] {
  if (event.type === 'stored') {
    const bitmap = event.accepted ?? NOTHING;
    return [u32(bitmap.byteLength), bitmap, event.batch.bytes];
  }
  if (event.type === 'adopted') {
    const { migration, slots, batch, shards, sequences } = event;
    const head = encoder.encode(JSON.stringify({ migration, slots }));
    return [u32(head.byteLength), head, u32(batch.bytes.byteLength), batch.bytes, bytesOf(shards), bytesOf(sequences)];
  }
  const { type: _, ...body } = event;
  return [encoder.encode(JSON.stringify(body))];
}

function whole(view: DataView, at: number, name: string): number {
  const value = view.getFloat64(at, true);
  if (Number.isSafeInteger(value) && value >= 0) return value;
  throw new RecordFormatError(`the ${name} of a record is ${value}, no whole number`);
}

function byteLength(parts: readonly Uint8Array[]): number {
  let sum = 0;
  for (const part of parts) sum += part.byteLength;
  return sum;
}

function u32(value: number): Uint8Array {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
}

function bytesOf(array: Uint32Array | Float64Array): Uint8Array {
  return new Uint8Array(array.buffer, array.byteOffset, array.byteLength);
}

function readEvent(type: ShardEvent['type'], body: Uint8Array): ShardEvent {
  try {
    if (type === 'stored') return readStored(body);
    if (type === 'adopted') return readAdopted(body);
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
    sealed: () => isCertified(fields),
    ready: () => isCertified(fields),
    settled: () => holds(fields, 'migration') && ['committed', 'aborted'].includes(fields.outcome as string),
    adopted: () => holds(fields, 'migration') && Array.isArray(fields.slots),
    horizon_set: () => holds(fields, 'horizon'),
  };
  if (right[type]?.() === false) throw new RecordFormatError(`an event ${type} lacks a field`);

  function isCertified(of: Record<string, unknown>): boolean {
    return holds(of, 'migration', 'horizon', 'count') && Array.isArray(of.slots) && typeof of.digest === 'string';
  }

  function isSmallState(of: Record<string, unknown>): boolean {
    const lists = [of?.seals, of?.adoptions, of?.settled, of?.forgottenAlso ?? []];
    return holds(of, 'horizon', 'forgottenBelow', 'foldedUpTo', 'epoch') && lists.every(Array.isArray);
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
  for (let row = 0; row < batch.rows; row++) if (accepts(accepted, row)) count += 1;
  return { type: 'stored', batch, accepted, count };
}

function readAdopted(body: Uint8Array): Adopted {
  const view = new DataView(body.buffer, body.byteOffset, body.byteLength);
  const headBytes = body.byteLength >= 8 ? view.getUint32(0, true) : 0;
  if (body.byteLength < 8 + headBytes) throw new RecordFormatError('an event adopted is shorter than its header');
  const head = Buffer.from(body.buffer, body.byteOffset + 4, headBytes).toString('utf8');
  const batchAt = 8 + headBytes;
  const batchBytes = view.getUint32(4 + headBytes, true);
  if (batchAt + batchBytes > body.byteLength) throw new RecordFormatError('an event adopted ends within its batch');
  const batch = readBatch(body.subarray(batchAt, batchAt + batchBytes), true);
  const shardsAt = batchAt + batchBytes;
  if (shardsAt + 12 * batch.rows !== body.byteLength) {
    throw new RecordFormatError('an event adopted does not say of every row where it was first');
  }
  // Copied, since the columns need not lie on a boundary of 4 and 8 in the record.
  const shards = new Uint32Array(new Uint8Array(body.subarray(shardsAt, shardsAt + 4 * batch.rows)).buffer);
  const sequences = new Float64Array(new Uint8Array(body.subarray(shardsAt + 4 * batch.rows)).buffer);
  const fields = JSON.parse(head);
  checkFields('adopted', fields);
  return { ...fields, type: 'adopted', batch, shards, sequences };
}

function hex(bytes: Uint8Array, at: number): string {
  return Buffer.from(bytes.buffer, bytes.byteOffset + at, 16).toString('hex');
}
