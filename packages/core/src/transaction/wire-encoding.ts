import { isUtf8 } from 'node:buffer';
import { Packr, Unpackr } from 'msgpackr';
import { SpillError } from './errors.js';
import { jsonFault } from './json-guard.js';
import { messagePackFault } from './messagepack-guard.js';

export type WireEncoding = 'json' | 'messagepack';

/** Without records: a reader in any language sees plain maps. 64-bit integers come as bigint. */
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType: 'bigint' });
const packr = new Packr({ useRecords: false, encodeUndefinedAsNil: true, variableMapSize: true });

/** The encoding of a body by its first byte; a body without bytes is answered in JSON. */
export function encodingOf(body: Uint8Array): WireEncoding {
  const first = body[0];
  return first === undefined || first === 0x7b || first === 0x5b ? 'json' : 'messagepack';
}

/**
 * The value of a request's body. Integers of 64 bits in MessagePack come as bigint, smaller ones as number.
 *
 * @throws SpillError `malformed` where the bytes are neither JSON nor MessagePack, or more than a request may be.
 */
export function decodeBody(body: Uint8Array): unknown {
  if (body.byteLength === 0) throw new SpillError('malformed', 'the body is empty: it must be JSON or MessagePack');
  return encodingOf(body) === 'json' ? decodeJson(body) : decodeMessagePack(body);
}

function decodeJson(body: Uint8Array): unknown {
  if (!isUtf8(body)) throw new SpillError('malformed', 'the body begins like JSON, but is not well-formed UTF-8');
  const fault = jsonFault(body);
  if (fault) throw new SpillError('malformed', `the JSON body can't be taken: ${fault}`);
  try {
    return JSON.parse(Buffer.from(body.buffer, body.byteOffset, body.byteLength).toString());
  } catch (error) {
    const detail = error instanceof Error ? error.message.slice(0, 120) : '';
    throw new SpillError('malformed', `the body begins like JSON, but is not: ${detail}`, { cause: error });
  }
}

function decodeMessagePack(body: Uint8Array): unknown {
  const fault = messagePackFault(body);
  if (fault) throw new SpillError('malformed', `the body is neither JSON nor MessagePack that can be taken: ${fault}`);
  try {
    return unpackr.unpack(body);
  } catch (error) {
    throw new SpillError('malformed', 'the body is neither JSON nor MessagePack', { cause: error });
  }
}

/**
 * A reply's body. A bigint is an amount or a balance: a decimal string in JSON, int64 in MessagePack (beyond int64 a
 * decimal string). Numbers are plain; integers beyond 32 bits are int64 in MessagePack, never float64.
 */
export function encodeBody(value: unknown, encoding: WireEncoding): Uint8Array {
  if (encoding === 'json') {
    return Buffer.from(JSON.stringify(value, (_, item) => (typeof item === 'bigint' ? item.toString() : item)));
  }
  return packMessagePack(forMessagePack(value));
}

/** Packs what holds nothing but strings, bigints within 64 bits, small integers, arrays and plain objects. */
export function packMessagePack(value: unknown): Uint8Array {
  return packr.pack(value);
}

function forMessagePack(value: unknown): unknown {
  if (typeof value === 'bigint') return BigInt.asIntN(64, value) === value ? value : value.toString();
  if (typeof value === 'number') return integerForMessagePack(value);
  if (Array.isArray(value)) return value.map(forMessagePack);
  if (typeof value !== 'object' || value === null || ArrayBuffer.isView(value)) return value;
  const entries = Object.entries(value).filter(([, item]) => item !== undefined);
  return Object.fromEntries(entries.map(([key, item]) => [key, forMessagePack(item)]));
}

/** msgpackr writes integers beyond 32 bits as float64; as bigint they are written as int64. */
export function integerForMessagePack(value: number): number | bigint {
  return Number.isSafeInteger(value) && (value > 0xffff_ffff || value < -0x8000_0000) ? BigInt(value) : value;
}
