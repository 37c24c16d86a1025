import type { IdHashKey } from './id-hash.js';

/** One transaction as a certificate sees it. `shard` and `sequence` are those of its first storing. */
export interface CertifiedRow {
  readonly account: string;
  /** The id's bytes are those of `bytes` from `idFrom` to before `idTo`: nothing is copied for whoever only reads. */
  readonly bytes: Uint8Array;
  readonly idFrom: number;
  readonly idTo: number;
  readonly amount: bigint;
  readonly timestamp: number;
  readonly shard: number;
  readonly sequence: number;
}

const KEYS = 2;
const LANES = 2 * KEYS;
/** Amount, timestamp, sequence: 64 bits each; shard; lengths. */
const FIXED_WORDS = 8;
/** An account has at most 255 UTF-16 units, an id 255 bytes. */
const WORDS_MAX = FIXED_WORDS + 128 + 64;

/**
 * A digest of a set of transactions that does not depend on their order: the sum of keyed 128-bit hashes, as four lanes
 * of 32 bits, each modulo 2^32. Two shards that know the same set have the same count and digest.
 */
export class RowDigest {
  count = 0;
  private readonly lanes = new Uint32Array(LANES);
  private readonly keys: readonly IdHashKey[];
  private readonly words = new Uint32Array(WORDS_MAX);
  private readonly amounts = new BigInt64Array(this.words.buffer, 0, 1);
  private readonly numbers = new Float64Array(this.words.buffer, 0, 3);

  constructor(key: IdHashKey) {
    this.keys = Array.from({ length: KEYS }, (_, i) => ({
      k0: (key.k0 ^ Math.imul(i + 1, 0x9e37_79b1)) | 0,
      k1: (key.k1 ^ Math.imul(i + 1, 0x85eb_ca6b)) | 0,
    }));
  }

  add(row: CertifiedRow): void {
    const words = this.write(row);
    for (let i = 0; i < KEYS; i++) this.addHash(this.keys[i] as IdHashKey, words, 2 * i);
    this.count += 1;
  }

  /** 32 hexadecimal digits. */
  get hex(): string {
    return [...this.lanes].map((lane) => lane.toString(16).padStart(8, '0')).join('');
  }

  /** The row in whole words; returns how many. Lengths go first, so that no two rows have the same words. */
  private write({ account, bytes, idFrom, idTo, amount, timestamp, shard, sequence }: CertifiedRow): number {
    const { words } = this;
    this.amounts[0] = amount;
    this.numbers[1] = timestamp;
    this.numbers[2] = sequence;
    words[6] = shard;
    words[7] = (account.length << 8) | (idTo - idFrom);
    let at = FIXED_WORDS;
    let i = 1;
    for (; i < account.length; i += 2) words[at++] = account.charCodeAt(i - 1) | (account.charCodeAt(i) << 16);
    if (i === account.length) words[at++] = account.charCodeAt(i - 1);
    let from = idFrom;
    for (; from + 4 <= idTo; from += 4) {
      words[at++] =
        (bytes[from] as number) |
        ((bytes[from + 1] as number) << 8) |
        ((bytes[from + 2] as number) << 16) |
        ((bytes[from + 3] as number) << 24);
    }
    if (from < idTo) {
      let last = 0;
      for (let shift = 0; from < idTo; from++, shift += 8) last |= (bytes[from] as number) << shift;
      words[at++] = last;
    }
    return at;
  }

  /** HalfSipHash-1-3 with 64 bits of output (see id-hash.ts) of the first `count` words, onto two lanes. */
  private addHash({ k0, k1 }: IdHashKey, count: number, lane: number): void {
    const { words, lanes } = this;
    let v0 = k0;
    let v1 = k1 ^ 0xee;
    let v2 = 0x6c796765 ^ k0;
    let v3 = 0x74656462 ^ k1;
    let first = 0;
    // One round for each word and for their number, three before each half of the output.
    for (let round = 0; round < count + 7; round++) {
      const word = round < count ? (words[round] as number) : round === count ? count << 24 : 0;
      if (round === count + 1) v2 ^= 0xee;
      if (round === count + 4) {
        first = v1 ^ v3;
        v1 ^= 0xdd;
      }
      v3 ^= word;
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
    }
    lanes[lane] = (lanes[lane] as number) + first;
    lanes[lane + 1] = (lanes[lane + 1] as number) + (v1 ^ v3);
  }
}
