import { isUtf8 } from 'node:buffer';

/** How deep a request may be nested. The deepest of the protocol has two levels. */
export const NESTING_MAX = 8;

const remainingAt = new Float64Array(NESTING_MAX + 1);
const isMapAt = new Uint8Array(NESTING_MAX + 1);

/**
 * Looks through a MessagePack body before anything is made of it: every length within the bytes that are there, so that
 * a header of five bytes can't ask for gigabytes; well-formed UTF-8, which the decoder would repair; strings as keys;
 * no extensions, no float 32, bounded nesting, nothing after the end. Returns what is wrong, or null.
 */
export function messagePackFault(bytes: Uint8Array): string | null {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = bytes.byteLength;
  let at = 0;
  let depth = 0;
  remainingAt[0] = 1;
  isMapAt[0] = 0;
  for (;;) {
    while (remainingAt[depth] === 0) {
      if (depth-- === 0) return at === end ? null : `it goes on after its end: ${end - at} bytes are left over`;
    }
    const remaining = remainingAt[depth] as number;
    remainingAt[depth] = remaining - 1;
    if (at >= end) return 'it ends too early';
    const type = bytes[at++] as number;
    const isKey = isMapAt[depth] === 1 && (remaining & 1) === 0;
    let text = -1;
    let skip = 0;
    let items = -1;
    let map = 0;
    if (type < 0x80 || type >= 0xe0) {
      // A small integer.
    } else if (type >= 0xa0 && type <= 0xbf) {
      text = type & 0x1f;
    } else if (type <= 0x8f) {
      map = 1;
      items = 2 * (type & 0x0f);
    } else if (type <= 0x9f) {
      items = type & 0x0f;
    } else {
      const size = LENGTH_BYTES[type - 0xc0] as number;
      if (at + size > end) return 'it ends too early';
      const length =
        size === 0 ? 0 : size === 1 ? (bytes[at] as number) : size === 2 ? view.getUint16(at) : view.getUint32(at);
      at += size;
      if (type >= 0xd9 && type <= 0xdb) text = length;
      else if (type >= 0xdc) {
        map = type >= 0xde ? 1 : 0;
        items = map ? 2 * length : length;
      } else if (type >= 0xc4 && type <= 0xc6) skip = length;
      else {
        skip = FIXED_BYTES[type - 0xc0] as number;
        if (skip < 0) return REFUSED[type] ?? 'it holds an extension type';
      }
    }
    if (isKey && text < 0) return 'it holds a map with a key that is not a string';
    if (text >= 0) {
      const to = at + text;
      if (to > end) return 'it ends too early';
      for (let i = at; i < to; i++) {
        if ((bytes[i] as number) < 0x80) continue;
        if (!isUtf8(bytes.subarray(i, to))) return 'it holds a string that is not well-formed UTF-8';
        break;
      }
      at = to;
    } else if (items >= 0) {
      if (items > end - at) return `it announces ${items} values, and ${end - at} bytes follow`;
      if (depth === NESTING_MAX) return `it is nested deeper than ${NESTING_MAX} levels`;
      remainingAt[++depth] = items;
      isMapAt[depth] = map;
    } else {
      at += skip;
      if (at > end) return 'it ends too early';
    }
  }
}

/** By type − 0xc0: how many bytes of length follow the type. */
const LENGTH_BYTES = [0, 0, 0, 0, 1, 2, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 4, 2, 4, 2, 4];
/** By type − 0xc0: bytes of the value itself; −1: refused. */
const FIXED_BYTES = [0, -1, 0, 0, 0, 0, 0, -1, -1, -1, -1, 8, 1, 2, 4, 8, 1, 2, 4, 8, -1, -1, -1, -1, -1];
const REFUSED: Readonly<Record<number, string>> = {
  193: 'it holds the byte c1, which means nothing',
  202: 'it holds a float 32; numbers are integers, or float 64 where integral',
};
