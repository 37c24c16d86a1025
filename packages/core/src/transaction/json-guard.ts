import { NESTING_MAX } from './messagepack-guard.js';

const QUOTE = 1;
const OPEN = 2;
const CLOSE = 3;
const FRACTION = 4;
const KIND = new Uint8Array(256);
KIND[0x22] = QUOTE;
KIND[0x5b] = KIND[0x7b] = OPEN;
KIND[0x5d] = KIND[0x7d] = CLOSE;
KIND[0x2e] = KIND[0x45] = KIND[0x65] = FRACTION;

/**
 * Looks through a JSON body before it is parsed, for the two things that `JSON.parse` would let pass: nesting without a
 * bound, and a number such as 1.00000000000000000001, which it rounds to an integer that the client did not write.
 * Returns what is wrong, or null; what is not JSON at all is left to the parser.
 */
export function jsonFault(bytes: Uint8Array): string | null {
  const end = bytes.byteLength;
  let depth = 0;
  for (let at = 0; at < end; at++) {
    const kind = KIND[bytes[at] as number];
    if (kind === 0) continue;
    if (kind === QUOTE) {
      at++;
      while (at < end && bytes[at] !== 0x22) at += bytes[at] === 0x5c ? 2 : 1;
    } else if (kind === OPEN) {
      if (++depth > NESTING_MAX) return `it is nested deeper than ${NESTING_MAX} levels`;
    } else if (kind === CLOSE) {
      depth--;
    } else if (isDigit(bytes[at - 1])) {
      const to = numberEnd(bytes, at);
      const fault = roundedFault(bytes, numberStart(bytes, at), to);
      if (fault) return fault;
      at = to - 1;
    }
  }
  return null;
}

function isDigit(byte: number | undefined): boolean {
  return byte !== undefined && byte >= 0x30 && byte <= 0x39;
}

function numberStart(bytes: Uint8Array, at: number): number {
  let from = at;
  while (from > 0 && (isDigit(bytes[from - 1]) || bytes[from - 1] === 0x2d)) from--;
  return from;
}

function numberEnd(bytes: Uint8Array, at: number): number {
  let to = at;
  while (to < bytes.byteLength && (isDigit(bytes[to]) || '.eE+-'.includes(String.fromCharCode(bytes[to] as number))))
    to++;
  return to;
}

/** Whether a number with a fraction or an exponent is not the integer that it will be parsed as. */
function roundedFault(bytes: Uint8Array, from: number, to: number): string | null {
  if (to - from > 400) return 'it holds a number of more than 400 characters';
  const text = String.fromCharCode(...bytes.subarray(from, to));
  const parsed = Number(text);
  if (!Number.isSafeInteger(parsed)) return null;
  const match = /^-?(\d+)(?:\.(\d+))?(?:[eE]([+-]?\d+))?$/.exec(text);
  if (!match) return null;
  const [, whole = '', fraction = '', exponent = '0'] = match;
  const digits = (whole + fraction).replace(/0+$/, '');
  // The value is `digits` × 10^power; it is integral where the power is not negative, and then parsed exactly.
  const power = Number(exponent) - fraction.length + (whole.length + fraction.length - digits.length);
  return digits !== '' && !/^0*$/.test(digits) && power < 0
    ? `it holds the number ${text}, which is not an integer`
    : null;
}
