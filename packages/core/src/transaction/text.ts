/**
 * The bytes that accounts and ids may consist of: well-formed UTF-8 without U+0000 to U+001F, U+007F and U+FFFD.
 * Checked, never repaired: a repaired id would make two ids one.
 */

/** Whether `bytes[from, to)` is such text. Lone surrogates are not well-formed UTF-8. */
export function isCleanText(bytes: Uint8Array, from: number, to: number): boolean {
  let at = from;
  while (at < to) {
    const byte = bytes[at] as number;
    if (byte < 0x80) {
      if (byte < 0x20 || byte === 0x7f) return false;
      at += 1;
      continue;
    }
    const length = sequenceLength(bytes, at, to);
    if (length === 0) return false;
    at += length;
  }
  return true;
}

/** Length of the well-formed multi-byte sequence at `at` (Unicode 15, table 3-7), or 0. U+FFFD counts as ill-formed. */
function sequenceLength(bytes: Uint8Array, at: number, to: number): number {
  const first = bytes[at] as number;
  const second = at + 1 < to ? (bytes[at + 1] as number) : 0;
  if (first >= 0xc2 && first <= 0xdf) return isContinuation(second) ? 2 : 0;
  const third = at + 2 < to ? (bytes[at + 2] as number) : 0;
  if (first >= 0xe0 && first <= 0xef) {
    const low = first === 0xe0 ? 0xa0 : 0x80;
    const high = first === 0xed ? 0x9f : 0xbf;
    if (second < low || second > high || !isContinuation(third)) return 0;
    return first === 0xef && second === 0xbf && third === 0xbd ? 0 : 3;
  }
  const fourth = at + 3 < to ? (bytes[at + 3] as number) : 0;
  if (first >= 0xf0 && first <= 0xf4) {
    const low = first === 0xf0 ? 0x90 : 0x80;
    const high = first === 0xf4 ? 0x8f : 0xbf;
    return second >= low && second <= high && isContinuation(third) && isContinuation(fourth) ? 4 : 0;
  }
  return 0;
}

function isContinuation(byte: number): boolean {
  return byte >= 0x80 && byte <= 0xbf;
}
