/**
 * HalfSipHash-1-3 (J.-P. Aumasson, D. J. Bernstein; the variant Linux calls hsiphash): 32 bits, keyed, in 32-bit
 * arithmetic only. It merely indexes tables of ids and accounts; these themselves are compared. Keyed with the
 * cluster's secret, so that no client can send what all falls into one place.
 *
 * By hand because it runs once a transaction: with xxhash-wasm the copy into its memory alone costs more than this.
 */
export interface IdHashKey {
  readonly k0: number;
  readonly k1: number;
}

export function hashId(key: IdHashKey, bytes: Uint8Array, from: number, to: number): number {
  let v0 = key.k0;
  let v1 = key.k1;
  let v2 = 0x6c796765 ^ key.k0;
  let v3 = 0x74656462 ^ key.k1;
  const length = to - from;
  const wordsEnd = from + (length & ~3);
  let at = from;
  for (;;) {
    const last = at >= wordsEnd;
    let word: number;
    if (last) {
      word = length << 24;
      if (at + 2 < to) word |= (bytes[at + 2] as number) << 16;
      if (at + 1 < to) word |= (bytes[at + 1] as number) << 8;
      if (at < to) word |= bytes[at] as number;
    } else {
      word =
        (bytes[at] as number) |
        ((bytes[at + 1] as number) << 8) |
        ((bytes[at + 2] as number) << 16) |
        ((bytes[at + 3] as number) << 24);
    }
    v3 ^= word;
    // One round a word.
    v0 = (v0 + v1) | 0;
    v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
    v0 = (v0 << 16) | (v0 >>> 16);
    v2 = (v2 + v3) | 0;
    v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
    v0 = (v0 + v3) | 0;
    v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
    v2 = (v2 + v1) | 0;
    v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
    v2 = (v2 << 16) | (v2 >>> 16);
    v0 ^= word;
    if (last) break;
    at += 4;
  }
  v2 ^= 0xff;
  for (let round = 0; round < 3; round++) {
    v0 = (v0 + v1) | 0;
    v1 = ((v1 << 5) | (v1 >>> 27)) ^ v0;
    v0 = (v0 << 16) | (v0 >>> 16);
    v2 = (v2 + v3) | 0;
    v3 = ((v3 << 8) | (v3 >>> 24)) ^ v2;
    v0 = (v0 + v3) | 0;
    v3 = ((v3 << 7) | (v3 >>> 25)) ^ v0;
    v2 = (v2 + v1) | 0;
    v1 = ((v1 << 13) | (v1 >>> 19)) ^ v2;
    v2 = (v2 << 16) | (v2 >>> 16);
  }
  return (v1 ^ v3) >>> 0;
}

/** The key from the topology's secret (hexadecimal). */
export function idHashKey(secret: string): IdHashKey {
  return { k0: Number.parseInt(secret.slice(0, 8), 16) | 0, k1: Number.parseInt(secret.slice(8, 16), 16) | 0 };
}

/** The hash of a key: spreads one id's hash over the accounts that use it. */
export function mixHashes(idHash: number, accountHash: number): number {
  let hash = idHash ^ Math.imul(accountHash, 0x9e37_79b1);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85eb_ca6b);
  return (hash ^ (hash >>> 13)) >>> 0;
}
