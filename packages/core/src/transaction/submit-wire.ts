/**
 * `spill.transactions.submit`: the request as clients send it, the results as they get them. Written by hand where the
 * rest of the wire goes through generic code, since every transaction of a router passes here.
 */

import { SpillError, spillErrorFromWire, type WireError } from './errors.js';
import { accountField, amountField, Fault, idField, timestampField } from './fields.js';
import { showValue } from './show-value.js';
import { BATCH_TRANSACTIONS_MAX, type Transaction } from './transaction.js';
import { decodeBody, encodingOf, integerForMessagePack, packMessagePack, type WireEncoding } from './wire-encoding.js';

/** A checked transaction on its way to a shard. `stamped`: spill gave the timestamp, and may give another one. */
export interface StampedTransaction extends Transaction {
  timestamp: number;
  readonly stamped: boolean;
}

/** What became of one transaction. `shard` and `sequence` are null for the direct path. `timestamp`: microseconds. */
export type SubmitResult =
  | {
      readonly id: string;
      readonly status: 'stored' | 'duplicate' | 'applied';
      readonly shard: number | null;
      readonly sequence: number | null;
      readonly timestamp: number;
    }
  | { readonly id: string | null; readonly status: 'rejected'; readonly error: SpillError };

export interface SubmitRequest {
  readonly encoding: WireEncoding;
  /** One transaction, not an array: the reply is one result. */
  readonly single: boolean;
  /** How many results the reply has. */
  readonly count: number;
  /** The valid ones, in order. */
  readonly transactions: readonly StampedTransaction[];
  /** Results of the others, by their place in the request. */
  readonly refused: ReadonlyMap<number, SubmitResult>;
}

export interface SubmitLimits {
  /** The server's, bytes: neither request nor reply may be longer. */
  readonly maxPayloadBytes: number;
}

/** What a result can take beside its id, in bytes; messages are cut so that it holds. */
const RESULT_BYTES_MAX = 480;
const MESSAGE_BYTES_MAX = 320;
const REPLY_BYTES = 64;

/**
 * Decodes and checks a request. A transaction without a timestamp gets `now` (microseconds).
 *
 * @throws SpillError `malformed`, `batch_too_large`, or for a single transaction `invalid_transaction`.
 */
export function decodeSubmitRequest(body: Uint8Array, now: number, limits: SubmitLimits): SubmitRequest {
  if (body.byteLength > limits.maxPayloadBytes) {
    throw tooLarge(`the request has ${body.byteLength} bytes, the server takes ${limits.maxPayloadBytes}`);
  }
  const encoding = encodingOf(body);
  const value = decodeBody(body);
  if (!Array.isArray(value)) {
    const transaction = checkTransaction(value, -1, now);
    if (transaction instanceof SpillError) throw transaction;
    return { encoding, single: true, count: 1, transactions: [transaction], refused: new Map() };
  }
  checkCount(value.length);
  return { encoding, single: false, count: value.length, ...checkTransactions(value, now, limits.maxPayloadBytes) };
}

/** @throws SpillError where a batch is empty or too long. */
export function checkCount(count: number): void {
  if (count === 0) throw new SpillError('malformed', `a batch must hold 1 to ${BATCH_TRANSACTIONS_MAX} transactions`);
  if (count > BATCH_TRANSACTIONS_MAX) {
    throw tooLarge(`the batch holds ${count} transactions, ${BATCH_TRANSACTIONS_MAX} are the most`);
  }
}

function checkTransactions(
  values: readonly unknown[],
  now: number,
  maxPayloadBytes: number,
): Pick<SubmitRequest, 'transactions' | 'refused'> {
  const transactions: StampedTransaction[] = [];
  const refused = new Map<number, SubmitResult>();
  let replyBytes = REPLY_BYTES + RESULT_BYTES_MAX * values.length;
  for (let index = 0; index < values.length; index++) {
    const value = values[index];
    const checked = checkTransaction(value, index, now);
    if (checked instanceof SpillError) {
      const id = idField((value as { id?: unknown } | null)?.id);
      refused.set(index, { id: id instanceof Fault ? null : id, status: 'rejected', error: checked });
      if (!(id instanceof Fault)) replyBytes += idBytesMax(id);
    } else {
      transactions.push(checked);
      replyBytes += idBytesMax(checked.id);
    }
  }
  if (replyBytes > maxPayloadBytes) {
    throw tooLarge(
      `the reply to these ${values.length} transactions could have ${replyBytes} bytes, ` +
        `the server takes ${maxPayloadBytes}; send fewer at once`,
    );
  }
  return { transactions, refused };
}

function tooLarge(message: string): SpillError {
  return new SpillError('batch_too_large', message);
}

/** An id in JSON: a quote or a backslash takes two bytes, any other UTF-16 unit at most three. */
function idBytesMax(id: string): number {
  return 3 * id.length + 2;
}

/** What the result of a transaction can add to a reply, in bytes, whatever becomes of it. */
export function resultBytesMax(id: string): number {
  return RESULT_BYTES_MAX + idBytesMax(id);
}

/**
 * Checks one transaction. `index` is its place in a batch, −1 for a single one.
 * Returns the error instead of throwing it: in a batch, the others go on.
 */
export function checkTransaction(value: unknown, index: number, now: number): StampedTransaction | SpillError {
  if (typeof value !== 'object' || value === null || Array.isArray(value) || ArrayBuffer.isView(value)) {
    return invalid(`${index < 0 ? 'the body' : `transactions[${index}]`} is ${showValue(value)}: must be an object`);
  }
  const { account, id, amount, timestamp } = value as Record<string, unknown>;
  for (const name in value) {
    if (name !== 'account' && name !== 'id' && name !== 'amount' && name !== 'timestamp') {
      return invalid(
        `${fieldName(index, showValue(name))} is unknown: a transaction has id, account, amount and timestamp`,
      );
    }
  }
  const checkedId = idField(id);
  if (checkedId instanceof Fault) return fieldError(index, 'id', id, checkedId);
  const checkedAccount = accountField(account);
  if (checkedAccount instanceof Fault) return fieldError(index, 'account', account, checkedAccount);
  const checkedAmount = amountField(amount);
  if (checkedAmount instanceof Fault) return fieldError(index, 'amount', amount, checkedAmount);
  if (timestamp === undefined) {
    return { account: checkedAccount, id: checkedId, amount: checkedAmount, timestamp: now, stamped: true };
  }
  const checkedTimestamp = timestampField(timestamp);
  if (checkedTimestamp instanceof Fault) return fieldError(index, 'timestamp', timestamp, checkedTimestamp);
  return { account: checkedAccount, id: checkedId, amount: checkedAmount, timestamp: checkedTimestamp, stamped: false };
}

function fieldName(index: number, field: string): string {
  return index < 0 ? field : `transactions[${index}].${field}`;
}

function fieldError(index: number, field: string, value: unknown, fault: Fault): SpillError {
  return invalid(`${fieldName(index, field)} is ${showValue(value)}: ${fault.must}`);
}

function invalid(message: string): SpillError {
  return new SpillError('invalid_transaction', message);
}

/** The reply: one result, or `{"results": [...]}`. */
export function encodeSubmitReply(
  results: readonly SubmitResult[],
  single: boolean,
  encoding: WireEncoding,
): Uint8Array {
  if (encoding === 'messagepack') {
    const packed = results.map(resultForMessagePack);
    return packMessagePack(single ? packed[0] : { results: packed });
  }
  if (single) return Buffer.from(resultAsJson(results[0] as SubmitResult));
  let json = '{"results":[';
  for (let i = 0; i < results.length; i++) json += (i === 0 ? '' : ',') + resultAsJson(results[i] as SubmitResult);
  return Buffer.from(`${json}]}`);
}

function resultAsJson(result: SubmitResult): string {
  const id = JSON.stringify(result.id);
  if (result.status === 'rejected') {
    return `{"id":${id},"status":"rejected","error":${boundedError(result.error).json}}`;
  }
  const { status, shard, sequence, timestamp } = result;
  return `{"id":${id},"status":"${status}","shard":${shard},"sequence":${sequence},"timestamp":${timestamp}}`;
}

function resultForMessagePack(result: SubmitResult): Record<string, unknown> {
  if (result.status === 'rejected') {
    return { id: result.id, status: 'rejected', error: boundedError(result.error).wire };
  }
  const { id, status, shard, sequence, timestamp } = result;
  return {
    id,
    status,
    shard,
    sequence: sequence === null ? null : integerForMessagePack(sequence),
    timestamp: integerForMessagePack(timestamp),
  };
}

interface BoundedError {
  readonly wire: WireError;
  readonly json: string;
}

/** Where a batch is refused as a whole, its results share one error. */
const bounded = new WeakMap<SpillError, BoundedError>();

/** The error of a result, its message cut where it would break the bound on the reply. */
function boundedError(error: SpillError): BoundedError {
  const known = bounded.get(error);
  if (known) return known;
  const wire = error.toWire();
  let { message } = wire;
  while (Buffer.byteLength(JSON.stringify(message)) > MESSAGE_BYTES_MAX) {
    message = `${message.slice(0, Math.floor(message.length * 0.9)).replace(/\p{Surrogate}$/u, '')}…`;
  }
  const told = { wire: { ...wire, message }, json: JSON.stringify({ ...wire, message }) };
  bounded.set(error, told);
  return told;
}

/** The fields of a transaction for a request in MessagePack. */
export function transactionForMessagePack({ id, account, amount, timestamp }: Transaction): Record<string, unknown> {
  return { id, account, amount, timestamp: integerForMessagePack(timestamp) };
}

/** The results in a reply to an array. @throws SpillError `internal` where the bytes are no such reply. */
export function decodeSubmitReply(body: Uint8Array, count: number): SubmitResult[] {
  const { results } = decodeBody(body) as { results?: unknown };
  if (!Array.isArray(results) || results.length !== count) {
    throw new SpillError('internal', `the reply does not hold ${count} results`);
  }
  return results.map(resultFromWire);
}

function resultFromWire(wire: Record<string, unknown>): SubmitResult {
  const { id, status, shard, sequence, timestamp, error } = wire;
  if (status === 'stored' || status === 'duplicate' || status === 'applied') {
    return {
      id: String(id),
      status,
      shard: shard === null ? null : Number(shard),
      sequence: sequence === null ? null : Number(sequence),
      timestamp: Number(timestamp),
    };
  }
  return { id: typeof id === 'string' ? id : null, status: 'rejected', error: spillErrorFromWire(error) };
}
