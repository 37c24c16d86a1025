/**
 * Which entries have a hash: a table of 256 partitions, open addressing each. A partition grows by itself, and each at
 * a share of its own: hashes fill them evenly, so with one share for all they would all grow at once, and everybody
 * would wait while everything is rehashed.
 *
 * A partition holds pairs of an entry and its hash, so that neither probing nor growing touches the entries themselves:
 * each of those would be a miss of the cache. Before them lie tags of one byte, which stay in the cache longest: for a
 * new key, and nearly all are new, they alone tell that it is not there.
 */
export const NONE = 0xffff_ffff;

const PARTITIONS = 256;
const PARTITION_SIZE_MIN = 16;
/** A partition grows once 7/16 of its places are used, the first one, to 11/16, the last. */
const FULL_SHARE_MIN = 7 / 16;
const FULL_SHARE_MAX = 11 / 16;

interface Partition {
  readonly fullShare: number;
  /** Of each place: 0 where it is free. The places of a hash: from `hash & (tags.length - 1)` on, round the end, up to a free one. */
  tags: Uint8Array;
  /** Of each place that is not free: entry and hash. */
  pairs: Uint32Array;
  used: number;
  usedMax: number;
}

export class EntryTable {
  private readonly partitions: Partition[] = Array.from({ length: PARTITIONS }, (_, i) => {
    const fullShare = FULL_SHARE_MIN + ((FULL_SHARE_MAX - FULL_SHARE_MIN) * i) / (PARTITIONS - 1);
    return { fullShare, used: 0, ...places(PARTITION_SIZE_MIN, fullShare) };
  });

  /** Places in all partitions, free ones included. */
  get places(): number {
    return this.partitions.reduce((sum, { tags }) => sum + tags.length, 0);
  }

  /** Whether an entry may have this hash: false is certain. */
  mayHave(hash: number): boolean {
    const { tags } = this.partitions[hash >>> 24]!;
    const mask = tags.length - 1;
    const tag = tagOf(hash);
    for (let at = hash & mask; ; at = (at + 1) & mask) {
      const other = tags[at] as number;
      if (other === 0) return false;
      if (other === tag) return true;
    }
  }

  /** The first entry with this hash that `isIt` takes, or `NONE`. */
  find(hash: number, isIt: (entry: number) => boolean): number {
    const { tags, pairs } = this.partitions[hash >>> 24]!;
    const mask = tags.length - 1;
    const tag = tagOf(hash);
    for (let at = hash & mask; ; at = (at + 1) & mask) {
      const other = tags[at] as number;
      if (other === 0) return NONE;
      if (other !== tag || pairs[2 * at + 1] !== hash) continue;
      const entry = pairs[2 * at] as number;
      if (isIt(entry)) return entry;
    }
  }

  insert(hash: number, entry: number): void {
    const partition = this.partitions[hash >>> 24]!;
    if (partition.used === partition.usedMax) grow(partition);
    put(partition, hash, entry);
    partition.used += 1;
  }

  /** Takes an entry that is there out and closes the gap, so that probing never meets a tombstone. */
  remove(hash: number, entry: number): void {
    const partition = this.partitions[hash >>> 24]!;
    const { tags, pairs } = partition;
    const mask = tags.length - 1;
    let gap = hash & mask;
    while (pairs[2 * gap] !== entry) {
      // Better to end than to look for ever.
      if (tags[gap] === 0) throw new RangeError(`entry ${entry} is not in the table`);
      gap = (gap + 1) & mask;
    }
    for (let at = (gap + 1) & mask; tags[at] !== 0; at = (at + 1) & mask) {
      const home = (pairs[2 * at + 1] as number) & mask;
      // An entry may move into the gap if its home does not lie between the gap and where it is now.
      if (((at - home) & mask) >= ((at - gap) & mask)) {
        tags[gap] = tags[at] as number;
        pairs[2 * gap] = pairs[2 * at] as number;
        pairs[2 * gap + 1] = pairs[2 * at + 1] as number;
        gap = at;
      }
    }
    tags[gap] = 0;
    partition.used -= 1;
  }
}

/** By bits of the hash that choose neither the partition nor, in one of fewer than 2^17 places, where to begin. */
function tagOf(hash: number): number {
  return ((hash >>> 17) & 0x7f) | 0x80;
}

function places(size: number, fullShare: number): Pick<Partition, 'tags' | 'pairs' | 'usedMax'> {
  return {
    tags: new Uint8Array(size),
    pairs: new Uint32Array(2 * size),
    usedMax: Math.floor(fullShare * size),
  };
}

function put({ tags, pairs }: Partition, hash: number, entry: number): void {
  const mask = tags.length - 1;
  let at = hash & mask;
  while (tags[at] !== 0) at = (at + 1) & mask;
  tags[at] = tagOf(hash);
  pairs[2 * at] = entry;
  pairs[2 * at + 1] = hash;
}

function grow(partition: Partition): void {
  const { tags, pairs } = partition;
  Object.assign(partition, places(2 * tags.length, partition.fullShare));
  for (let at = 0; at < tags.length; at++) {
    if (tags[at] !== 0) put(partition, pairs[2 * at + 1] as number, pairs[2 * at] as number);
  }
}
