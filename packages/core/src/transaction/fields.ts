/**
 * The checks of single fields, each a plain function that returns the value or, as a string that begins with "must",
 * what is wrong with it. No exceptions: a batch of a thousand runs through these some ten thousand times.
 */

import { ACCOUNT_BYTES_MAX, AMOUNT_MAX, ID_BYTES_MAX } from './transaction.js';

/** What is wrong with a field: a clause that goes on after the value, "must be …". */
export class Fault {
  constructor(readonly must: string) {}
}

const NOT_TEXT = new Fault('must be a string');
const NOT_CLEAN = new Fault('must be well-formed text without U+0000 to U+001F, U+007F and U+FFFD');
const ACCOUNT_LENGTH = new Fault(`must be 1 to ${ACCOUNT_BYTES_MAX} bytes of UTF-8`);
const ID_LENGTH = new Fault(`must be 1 to ${ID_BYTES_MAX} bytes of UTF-8`);
const NOT_INTEGER = new Fault('must be an integer within ±(2^53−1) or a decimal string such as "-1250"');
const NOT_DECIMAL = new Fault('must be a decimal string such as "-1250": no spaces, no plus sign, no leading zeros');
const ZERO_AMOUNT = new Fault('must not be 0');
const AMOUNT_RANGE = new Fault('must be within ±(2^63−1)');
const TIMESTAMP_RANGE = new Fault('must be within 0 and 2^53−1: microseconds since 1970-01-01 UTC');

const AMOUNT_MIN = -AMOUNT_MAX;

const UNCLEAN = /[\u0000-\u001f\u007f\ufffd]|\p{Surrogate}/u;
const DECIMAL = /^(?:0|-?[1-9][0-9]{0,19})$/;

export function accountField(value: unknown): string | Fault {
  return textField(value, ACCOUNT_BYTES_MAX, ACCOUNT_LENGTH);
}

export function idField(value: unknown): string | Fault {
  return textField(value, ID_BYTES_MAX, ID_LENGTH);
}

function textField(value: unknown, bytesMax: number, wrongLength: Fault): string | Fault {
  if (typeof value !== 'string') return NOT_TEXT;
  const length = value.length;
  if (length === 0 || length > bytesMax) return wrongLength;
  for (let i = 0; i < length; i++) {
    const unit = value.charCodeAt(i);
    if (unit < 0x20 || unit > 0x7e) return otherTextField(value, bytesMax, wrongLength);
  }
  return value;
}

/** Text with anything but printable ASCII. With the `u` flag, `\p{Surrogate}` matches lone surrogates only. */
function otherTextField(value: string, bytesMax: number, wrongLength: Fault): string | Fault {
  if (UNCLEAN.test(value)) return NOT_CLEAN;
  return utf8Length(value) > bytesMax ? wrongLength : value;
}

/** Bytes of well-formed text in UTF-8. */
export function utf8Length(text: string): number {
  let bytes = text.length;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    // Each half of a surrogate pair counts two, together the four bytes that they take.
    if (unit >= 0x800 && (unit < 0xd800 || unit > 0xdfff)) bytes += 2;
    else if (unit >= 0x80) bytes += 1;
  }
  return bytes;
}

/** An integer as both encodings may send it, as a bigint or a number, each exact. */
function integerField(value: unknown): number | bigint | Fault {
  if (typeof value === 'number') return Number.isSafeInteger(value) ? value : NOT_INTEGER;
  if (typeof value === 'bigint') return value;
  if (typeof value === 'string') return DECIMAL.test(value) ? BigInt(value) : NOT_DECIMAL;
  return NOT_INTEGER;
}

/** Minor units. */
export function amountField(value: unknown): bigint | Fault {
  const integer = integerField(value);
  if (typeof integer === 'number') return integer === 0 ? ZERO_AMOUNT : BigInt(integer);
  if (integer instanceof Fault) return integer;
  if (integer === 0n) return ZERO_AMOUNT;
  return integer > AMOUNT_MAX || integer < AMOUNT_MIN ? AMOUNT_RANGE : integer;
}

/** Microseconds. */
export function timestampField(value: unknown): number | Fault {
  const integer = integerField(value);
  if (integer instanceof Fault) return integer;
  const number = Number(integer);
  // The sum turns −0 into 0.
  return number >= 0 && number <= Number.MAX_SAFE_INTEGER ? number + 0 : TIMESTAMP_RANGE;
}

/** A whole number between two bounds, such as a limit or a shard. */
export function wholeField(value: unknown, min: number, max: number): number | Fault {
  const integer = integerField(value);
  const number = integer instanceof Fault ? Number.NaN : Number(integer);
  return number >= min && number <= max ? number + 0 : new Fault(`must be an integer from ${min} to ${max}`);
}
