/**
 * What router (or SDK) and shard say to each other for `submit`, on `spill.shard.<id>.<assignment>.submit`.
 * Internal, little-endian; both ends are of one release.
 *
 * Request: u32 milliseconds that the sender will still wait, then a batch (transaction/batch.ts).
 *
 * Reply:
 * ```
 *  0 u8  format, 1
 *  1 u8  code (ReplyCode)
 *  2 u16 0
 *  4 u32 retry after, milliseconds (overloaded)
 *  8 f64 epoch the shard acts on
 * 16 f64 horizon, microseconds
 * 24 f64 sequence of the record that holds the stored rows; 0 where none was stored
 * 32 u32 rows; 0 where every row was stored, or code is not ok
 * 36 status       u8 × rows (RowStatus)
 *    firsts       per row that is duplicate or id_conflict, in order: u32 shard, f64 sequence, f64 timestamp, i64 amount
 * ```
 * Where code is not ok, UTF-8 text for a person follows byte 36.
 */
export enum ReplyCode {
  ok = 0,
  /** Opening, draining or refusing to write. Nothing of this request was stored, or it can't be told: repeat. */
  unavailable = 1,
  overloaded = 2,
  /** Past its deadline when its turn came. Nothing was stored. */
  timeout = 3,
  malformed = 4,
}

export enum RowStatus {
  stored = 0,
  duplicate = 1,
  idConflict = 2,
  expired = 3,
  /** Another shard owns the slot: read the topology again. */
  moved = 4,
  /** Below the horizon, and the ledger could not be asked. */
  unavailable = 5,
  /** Stamped by spill, unknown and below the horizon: the stamper stamps again just above. */
  restamp = 6,
  /** The timestamp is more than `max_clock_skew` ahead. */
  ahead = 7,
}

/** The first transaction with a key, where a row met it. `shard` null: the direct path. */
export interface FirstSeen {
  readonly shard: number | null;
  readonly sequence: number | null;
  readonly timestamp: number;
  readonly amount: bigint;
}

export interface SubmitReply {
  readonly code: ReplyCode;
  readonly retryAfterMs: number;
  readonly epoch: number;
  readonly horizon: number;
  readonly sequence: number;
  /** Empty: every row was stored. */
  readonly statuses: Uint8Array;
  /** By row. */
  readonly firsts: ReadonlyMap<number, FirstSeen>;
  readonly message: string;
}

const HEADER = 36;
const FIRST = 28;
const NO_SHARD = 0xffff_ffff;

export function writeSubmitRequest(remainingMs: number, batch: Uint8Array): Uint8Array<ArrayBuffer> {
  const out = new Uint8Array(4 + batch.byteLength);
  new DataView(out.buffer).setUint32(0, Math.max(0, Math.floor(remainingMs)), true);
  out.set(batch, 4);
  return out;
}

export function readSubmitRequest(bytes: Uint8Array): { remainingMs: number; batch: Uint8Array } | null {
  if (bytes.byteLength < 4) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return { remainingMs: view.getUint32(0, true), batch: bytes.subarray(4) };
}

/** The reply to a request that is answered as a whole, with no result for any row. */
export function writeSubmitRefusal(
  code: Exclude<ReplyCode, ReplyCode.ok>,
  message: string,
  known: Partial<Pick<SubmitReply, 'retryAfterMs' | 'epoch' | 'horizon'>> = {},
): Uint8Array<ArrayBuffer> {
  const { retryAfterMs = 0, epoch = 0, horizon = 0 } = known;
  const nothing = { sequence: 0, statuses: new Uint8Array(), firsts: new Map() };
  return writeSubmitReply({ code, message, retryAfterMs, epoch, horizon, ...nothing });
}

export function writeSubmitReply(reply: SubmitReply): Uint8Array<ArrayBuffer> {
  const text = reply.code === ReplyCode.ok ? new Uint8Array() : new TextEncoder().encode(reply.message);
  const rows = reply.statuses.length;
  const out = new Uint8Array(HEADER + rows + FIRST * reply.firsts.size + text.byteLength);
  const view = new DataView(out.buffer);
  out[0] = 1;
  out[1] = reply.code;
  view.setUint32(4, reply.retryAfterMs, true);
  view.setFloat64(8, reply.epoch, true);
  view.setFloat64(16, reply.horizon, true);
  view.setFloat64(24, reply.sequence, true);
  view.setUint32(32, rows, true);
  out.set(reply.statuses, HEADER);
  let at = HEADER + rows;
  // Map order is the order of insertion; the reader takes them in row order, so sort.
  for (const row of [...reply.firsts.keys()].sort((a, b) => a - b)) {
    const first = reply.firsts.get(row)!;
    view.setUint32(at, first.shard ?? NO_SHARD, true);
    view.setFloat64(at + 4, first.sequence ?? 0, true);
    view.setFloat64(at + 12, first.timestamp, true);
    view.setBigInt64(at + 20, first.amount, true);
    at += FIRST;
  }
  out.set(text, at);
  return out;
}

/** @throws Error where the bytes are no reply. */
export function readSubmitReply(bytes: Uint8Array): SubmitReply {
  if (bytes.byteLength < HEADER || bytes[0] !== 1) throw new Error('a shard sent something that is not a reply');
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const code = bytes[1] as ReplyCode;
  const rows = view.getUint32(32, true);
  const statuses = bytes.slice(HEADER, HEADER + rows);
  const firsts = new Map<number, FirstSeen>();
  let at = HEADER + rows;
  for (let row = 0; row < rows; row++) {
    if (statuses[row] !== RowStatus.duplicate && statuses[row] !== RowStatus.idConflict) continue;
    const shard = view.getUint32(at, true);
    firsts.set(row, {
      shard: shard === NO_SHARD ? null : shard,
      sequence: shard === NO_SHARD ? null : view.getFloat64(at + 4, true),
      timestamp: view.getFloat64(at + 12, true),
      amount: view.getBigInt64(at + 20, true),
    });
    at += FIRST;
  }
  return {
    code,
    retryAfterMs: view.getUint32(4, true),
    epoch: view.getFloat64(8, true),
    horizon: view.getFloat64(16, true),
    sequence: view.getFloat64(24, true),
    statuses,
    firsts,
    message: code === ReplyCode.ok ? '' : new TextDecoder().decode(bytes.subarray(at)),
  };
}
