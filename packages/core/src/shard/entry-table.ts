/**
 * Which entries have a hash: a table of 256 partitions, open addressing each. A partition grows by itself, so that no
 * insertion pays for rehashing everything.
 *
 * A partition holds pairs of an entry and its hash, so that neither probing nor growing touches the entries themselves:
 * each of those would be a miss of the cache.
 */
export const NONE = 0xffff_ffff;

const PARTITIONS = 256;
const PARTITION_PAIRS_MIN = 16;

interface Partition {
  pairs: Uint32Array;
  used: number;
}

export class EntryTable {
  private readonly partitions: Partition[] = Array.from({ length: PARTITIONS }, () => ({
    pairs: new Uint32Array(2 * PARTITION_PAIRS_MIN).fill(NONE),
    used: 0,
  }));

  /** The pairs among which a hash lies: from `homeOf` on, two at a time and round the end, up to the first `NONE`. */
  pairs(hash: number): Uint32Array {
    return this.partitions[hash >>> 24]!.pairs;
  }

  insert(hash: number, entry: number): void {
    const partition = this.partitions[hash >>> 24]!;
    // At most two thirds of the pairs are used.
    if (partition.used * 3 >= partition.pairs.length) partition.pairs = grown(partition.pairs);
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

function grown(from: Uint32Array): Uint32Array {
  const pairs = new Uint32Array(from.length * 2).fill(NONE);
  for (let at = 0; at < from.length; at += 2) {
    const entry = from[at] as number;
    if (entry !== NONE) put(pairs, from[at + 1] as number, entry);
  }
  return pairs;
}
