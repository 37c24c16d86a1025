/**
 * Which entries have a hash: a table of 256 partitions, open addressing each. A partition grows by itself, and each at
 * a share of its own: hashes fill them evenly, so with one share for all they would all grow at once, and everybody
 * would wait while everything is rehashed.
 *
 * A partition holds pairs of an entry and its hash, so that neither probing nor growing touches the entries themselves:
 * each of those would be a miss of the cache.
 */
export const NONE = 0xffff_ffff;

const PARTITIONS = 256;
const PARTITION_PAIRS_MIN = 16;
/** A partition grows once 7/16 of its pairs are used, the first one, to 11/16, the last. */
const FULL_SHARE_MIN = 7 / 16;
const FULL_SHARE_MAX = 11 / 16;

interface Partition {
  readonly fullShare: number;
  pairs: Uint32Array;
  used: number;
  usedMax: number;
}

export class EntryTable {
  private readonly partitions: Partition[] = Array.from({ length: PARTITIONS }, (_, i) => {
    const fullShare = FULL_SHARE_MIN + ((FULL_SHARE_MAX - FULL_SHARE_MIN) * i) / (PARTITIONS - 1);
    const pairs = new Uint32Array(2 * PARTITION_PAIRS_MIN).fill(NONE);
    return { fullShare, pairs, used: 0, usedMax: Math.floor(fullShare * PARTITION_PAIRS_MIN) };
  });

  /** The pairs among which a hash lies: from `homeOf` on, two at a time and round the end, up to the first `NONE`. */
  pairs(hash: number): Uint32Array {
    return this.partitions[hash >>> 24]!.pairs;
  }

  insert(hash: number, entry: number): void {
    const partition = this.partitions[hash >>> 24]!;
    if (partition.used === partition.usedMax) grow(partition);
    put(partition.pairs, hash, entry);
    partition.used += 1;
  }

  /** Takes an entry out and closes the gap, so that probing never meets a tombstone. */
  remove(hash: number, entry: number): void {
    const partition = this.partitions[hash >>> 24]!;
    const { pairs } = partition;
    const mask = pairs.length - 1;
    let gap = homeOf(hash, mask);
    while (pairs[gap] !== entry) gap = (gap + 2) & mask;
    for (let at = (gap + 2) & mask; pairs[at] !== NONE; at = (at + 2) & mask) {
      const home = homeOf(pairs[at + 1] as number, mask);
      // An entry may move into the gap if its home does not lie between the gap and where it is now.
      if (((at - home) & mask) >= ((at - gap) & mask)) {
        pairs[gap] = pairs[at] as number;
        pairs[gap + 1] = pairs[at + 1] as number;
        gap = at;
      }
    }
    pairs[gap] = NONE;
    partition.used -= 1;
  }
}

/** Where a hash's pair is looked for first. `mask`: the length of the pairs, a power of two, less one. */
export function homeOf(hash: number, mask: number): number {
  return (hash << 1) & mask;
}

function put(pairs: Uint32Array, hash: number, entry: number): void {
  const mask = pairs.length - 1;
  let at = homeOf(hash, mask);
  while (pairs[at] !== NONE) at = (at + 2) & mask;
  pairs[at] = entry;
  pairs[at + 1] = hash;
}

function grow(partition: Partition): void {
  const from = partition.pairs;
  const pairs = new Uint32Array(from.length * 2).fill(NONE);
  for (let at = 0; at < from.length; at += 2) {
    const entry = from[at] as number;
    if (entry !== NONE) put(pairs, from[at + 1] as number, entry);
  }
  partition.pairs = pairs;
  partition.usedMax = Math.floor((partition.fullShare * pairs.length) / 2);
}
