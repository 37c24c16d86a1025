/**
 * The known transactions of a shard, in log order: its memory of what it stored, by (account, id).
 *
 * Entries lie in segments of columns (typed arrays, outside the garbage collector's heap) that are filled once and
 * dropped whole from the front. A table (entry-table.ts) leads from the keyed hash of a key to its entry. Each entry
 * leads to the one before it of the same account, so that one account is read without passing over the others.
 *
 * An entry is named by a reference: 16 bits of segment, 16 bits of place. What makes an entry *known* is decided by the
 * horizon (see `forget`); when its memory is given back is a matter of housekeeping (`sweep`) and changes no answer.
 */
import { accountName, type Batch, batchAccount, batchTimestamp } from '../transaction/batch.js';
import { type AccountNumbers, AccountTable } from './account-table.js';
import { enlarged } from './enlarged.js';
import { EntryTable, NONE } from './entry-table.js';
import { accepts, type Forgotten } from './events.js';
import { hashId, type IdHashKey, mixHashes } from './id-hash.js';
import { type LocatedKeys, locateKeys } from './located-keys.js';

export { NONE };

/** Not 65,536, so that no reference is `NONE`. */
const SEGMENT_ENTRIES = 65_535;

interface Segment {
  readonly accounts: Uint32Array;
  readonly hashes: Uint32Array;
  readonly amounts: BigInt64Array;
  readonly amountBytes: Uint8Array;
  readonly amountWords: Int32Array;
  readonly timestamps: Float64Array;
  /** Relative to `sequenceBase`. */
  readonly sequences: Uint32Array;
  readonly previous: Uint32Array;
  readonly idsAt: Uint32Array;
  readonly idLengths: Uint8Array;
  ids: Uint8Array<ArrayBuffer>;
  idBytes: number;
  readonly sequenceBase: number;
  length: number;
}

function newSegment(entries: number, sequenceBase: number): Segment {
  const amounts = new BigInt64Array(entries);
  return {
    accounts: new Uint32Array(entries),
    hashes: new Uint32Array(entries),
    amounts,
    amountBytes: new Uint8Array(amounts.buffer),
    amountWords: new Int32Array(amounts.buffer),
    timestamps: new Float64Array(entries),
    sequences: new Uint32Array(entries),
    previous: new Uint32Array(entries),
    idsAt: new Uint32Array(entries),
    idLengths: new Uint8Array(entries),
    ids: new Uint8Array(entries * 16),
    idBytes: 0,
    sequenceBase,
    length: 0,
  };
}

function makeRoom(segment: Segment, idBytes: number): void {
  const { ids, idBytes: used } = segment;
  if (used + idBytes <= ids.length) return;
  segment.ids = enlarged(ids, new Uint8Array(Math.max(2 * ids.length, used + idBytes)));
}

export class KnownIds {
  private readonly segments: (Segment | undefined)[] = [];
  private readonly table = new EntryTable();
  private readonly accounts: AccountTable;
  /** Absolute numbers: segment × segmentEntries + place, never wrapping. */
  private sweptTo = 0;
  private liveFrom = 0;
  private end = 0;
  private forgotten: readonly Forgotten[] = [];
  private startsAbove = 0;
  private sweptUpTo = 0;
  private pinnedAbove = Number.POSITIVE_INFINITY;

  constructor(
    private readonly key: IdHashKey,
    private readonly slotOf: (account: string) => number,
    /** Smaller ones only in tests, which would otherwise need millions of entries to meet a boundary. */
    private readonly segmentEntries = SEGMENT_ENTRIES,
  ) {
    this.accounts = new AccountTable(slotOf);
    if (segmentEntries < 1 || segmentEntries > SEGMENT_ENTRIES) {
      throw new RangeError(`a segment of ${segmentEntries} entries; 1 to ${SEGMENT_ENTRIES} are possible`);
    }
  }

  /** Entries in memory, forgotten ones that were not swept yet included. */
  get size(): number {
    return this.end - this.sweptTo;
  }

  get accountCount(): number {
    return this.accounts.size;
  }

  /** The slot of an account, remembered for accounts that are known. */
  slot(account: string): number {
    const number = this.accountNumber(account);
    return number < 0 ? this.slotOf(account) : this.accounts.slot(number);
  }

  /** Number of an account that has entries, or −1. */
  accountNumber(account: string, hash = this.accountHash(account)): number {
    return this.accounts.numberOf(account, hash);
  }

  /** The same for each account of a batch, and its slot. */
  accountNumbers(batch: Batch, { accountHashes }: LocatedKeys): AccountNumbers {
    return this.accounts.numbersOf(batch, accountHashes);
  }

  accountName(number: number): string {
    return this.accounts.name(number);
  }

  /** The known entry with this key, or `NONE`. */
  lookUp(account: string, id: string): number {
    const accountHash = this.accountHash(account);
    const number = this.accountNumber(account, accountHash);
    if (number < 0) return NONE;
    const bytes = Buffer.from(id);
    const hash = mixHashes(hashId(this.key, bytes, 0, bytes.length), accountHash);
    return this.find(number, hash, bytes, 0, bytes.length);
  }

  private accountHash(account: string): number {
    const bytes = Buffer.from(account);
    return hashId(this.key, bytes, 0, bytes.length);
  }

  /**
   * Whether a key may be known: false is certain, else it is for `find` to tell. Asked for many keys in a row, the
   * misses of the cache overlap; one `find` after the other waits for each.
   */
  mayKnow(hash: number): boolean {
    return this.table.mayHave(hash);
  }

  /** What `lookUp` says, for a key whose account's number, whose hash and whose id's bytes are at hand. */
  find(account: number, hash: number, bytes: Uint8Array, from: number, to: number): number {
    return this.table.find(hash, (entry) => {
      const segment = this.segments[entry >>> 16]!;
      const place = entry & 0xffff;
      return (
        segment.accounts[place] === account &&
        segment.idLengths[place] === to - from &&
        sameBytes(segment.ids, segment.idsAt[place] as number, bytes, from, to) &&
        !this.isForgotten(entry)
      );
    });
  }

  /**
   * The rows of one record's batch that were accepted (null: all), as entries at the end; no key may be known. `keys`:
   * where they are at hand.
   */
  addRows(batch: Batch, accepted: Uint8Array | null, sequence: number, keys = locateKeys(this.key, batch)): void {
    const found = keys.numbers?.released === this.accounts.released ? keys.numbers : this.accountNumbers(batch, keys);
    const { numbers } = found;
    let from = 0;
    while (from < batch.rows) {
      if (!accepts(accepted, from)) {
        from += 1;
        continue;
      }
      let to = from + 1;
      while (to < batch.rows && accepts(accepted, to)) to += 1;
      this.intern(batch, keys, from, to, found);
      while (from < to) {
        const segment = this.segmentToFill(sequence);
        const count = Math.min(to - from, this.segmentEntries - segment.length);
        this.fill(segment, batch, keys, numbers, from, count, sequence);
        from += count;
      }
    }
  }

  /** Only the accounts that these rows name: one without entries would never be released. */
  private intern(batch: Batch, keys: LocatedKeys, from: number, to: number, { numbers, slots }: AccountNumbers): void {
    for (let row = from; row < to; row++) {
      const place = batchAccount(batch, row);
      if ((numbers[place] as number) >= 0) continue;
      const hash = keys.accountHashes[place] as number;
      numbers[place] = this.accounts.intern(accountName(batch, place), hash, slots[place] as number);
    }
  }

  /** The last segment, or a new one where that is full. */
  private segmentToFill(sequence: number): Segment {
    const number = Math.floor(this.end / this.segmentEntries);
    if (number * this.segmentEntries === this.end) {
      this.segments[number & 0xffff] = newSegment(this.segmentEntries, sequence);
    }
    return this.segments[number & 0xffff]!;
  }

  /** Adds `count` rows from `row` on, for which the segment has room: whole columns where both sides have the same. */
  private fill(
    segment: Segment,
    batch: Batch,
    { starts, hashes: keyHashes }: LocatedKeys,
    numbers: Int32Array,
    row: number,
    count: number,
    sequence: number,
  ): void {
    const { bytes, amountsAt, idLengthsAt } = batch;
    const { accounts, hashes, timestamps, previous, idsAt } = segment;
    const first = segment.length;
    const idsFrom = starts[row] as number;
    const idsTo = starts[row + count] as number;
    makeRoom(segment, idsTo - idsFrom);
    segment.ids.set(bytes.subarray(idsFrom, idsTo), segment.idBytes);
    segment.amountBytes.set(bytes.subarray(amountsAt + 8 * row, amountsAt + 8 * (row + count)), 8 * first);
    segment.idLengths.set(bytes.subarray(idLengthsAt + row, idLengthsAt + row + count), first);
    segment.sequences.fill(sequence - segment.sequenceBase, first, first + count);
    const idsShift = segment.idBytes - idsFrom;
    const firstEntry = this.reference(this.end);
    for (let i = 0; i < count; i++) {
      const account = numbers[batchAccount(batch, row + i)] as number;
      const place = first + i;
      accounts[place] = account;
      timestamps[place] = batchTimestamp(batch, row + i);
      idsAt[place] = (starts[row + i] as number) + idsShift;
      previous[place] = this.accounts.push(account, firstEntry + i);
    }
    hashes.set(keyHashes.subarray(row, row + count), first);
    // In a loop of their own the misses of the cache overlap more.
    for (let i = 0; i < count; i++) this.table.insert(keyHashes[row + i] as number, firstEntry + i);
    segment.idBytes += idsTo - idsFrom;
    segment.length += count;
    this.end += count;
  }

  amount(entry: number): bigint {
    return this.segments[entry >>> 16]!.amounts[entry & 0xffff] as bigint;
  }

  /** The low half of the amount, unsigned; `amountHigh` is the signed high half. */
  amountLow(entry: number): number {
    return (this.segments[entry >>> 16]!.amountWords[2 * (entry & 0xffff)] as number) >>> 0;
  }

  amountHigh(entry: number): number {
    return this.segments[entry >>> 16]!.amountWords[2 * (entry & 0xffff) + 1] as number;
  }

  timestamp(entry: number): number {
    return this.segments[entry >>> 16]!.timestamps[entry & 0xffff] as number;
  }

  sequence(entry: number): number {
    const segment = this.segments[entry >>> 16]!;
    return segment.sequenceBase + (segment.sequences[entry & 0xffff] as number);
  }

  account(entry: number): string {
    return this.accountName(this.accountNumberOf(entry));
  }

  accountNumberOf(entry: number): number {
    return this.segments[entry >>> 16]!.accounts[entry & 0xffff] as number;
  }

  id(entry: number): string {
    const segment = this.segments[entry >>> 16]!;
    const at = segment.idsAt[entry & 0xffff] as number;
    return Buffer.from(segment.ids.buffer, at, segment.idLengths[entry & 0xffff]).toString('utf8');
  }

  /** What holds the bytes of the entry's id, at `idFrom` to before `idTo`. */
  idBytes(entry: number): Uint8Array<ArrayBuffer> {
    return this.segments[entry >>> 16]!.ids;
  }

  idFrom(entry: number): number {
    return this.segments[entry >>> 16]!.idsAt[entry & 0xffff] as number;
  }

  idTo(entry: number): number {
    const segment = this.segments[entry >>> 16]!;
    return (segment.idsAt[entry & 0xffff] as number) + (segment.idLengths[entry & 0xffff] as number);
  }

  /**
   * From now on an entry with a timestamp below `horizon` in a record up to `foldedUpTo`, or within one of `also`, is not
   * known any more. What was forgotten once must stay within these: its memory may be gone.
   * Returns the first sequence that still holds a known entry, or `none` where none is left.
   */
  forget(horizon: number, foldedUpTo: number, none: number, also: readonly Forgotten[] = []): number {
    this.forgotten = [{ below: horizon, upTo: foldedUpTo }, ...also];
    while (this.liveFrom < this.end && this.isForgotten(this.reference(this.liveFrom))) this.liveFrom += 1;
    return this.liveFrom < this.end ? this.sequence(this.reference(this.liveFrom)) : none;
  }

  isForgotten(entry: number): boolean {
    const timestamp = this.timestamp(entry);
    const sequence = this.sequence(entry);
    for (const span of this.forgotten) if (timestamp < span.below && sequence <= span.upTo) return true;
    return false;
  }

  /** Records below `sequence` were never read: their entries are missing here. Called before the first `addRows`. */
  startAt(sequence: number): void {
    this.startsAbove = sequence - 1;
  }

  /** Every entry of a record above this sequence is in memory, forgotten or not. */
  get completeAbove(): number {
    return Math.max(this.startsAbove, this.sweptUpTo);
  }

  /** Keeps entries of records above `sequence` in memory, forgotten or not: somebody still counts them. */
  pin(sequence: number): void {
    this.pinnedAbove = sequence;
  }

  /** Gives back the memory of forgotten entries at the front, `entriesMax` at most. Returns how many it took out. */
  sweep(entriesMax: number): number {
    const from = this.sweptTo;
    const to = Math.min(this.liveFrom, from + entriesMax);
    for (; this.sweptTo < to; this.sweptTo++) {
      const entry = this.reference(this.sweptTo);
      const segment = this.segments[entry >>> 16]!;
      const place = entry & 0xffff;
      const sequence = this.sequence(entry);
      if (sequence > this.pinnedAbove) break;
      this.sweptUpTo = sequence;
      this.table.remove(segment.hashes[place] as number, entry);
      this.accounts.release(segment.accounts[place] as number);
      if (place === this.segmentEntries - 1) this.segments[entry >>> 16] = undefined;
    }
    return this.sweptTo - from;
  }

  /** Every known entry, in log order. */
  *entries(): Generator<number> {
    for (let at = this.liveFrom; at < this.end; at++) {
      const entry = this.reference(at);
      if (!this.isForgotten(entry)) yield entry;
    }
  }

  /** Entries of an account from the newest back to the first one at or below `sequence`, that one left out. */
  *entriesOfAccount(account: string, sequence: number): Generator<number> {
    const { accounts } = this;
    const number = this.accountNumber(account);
    if (number < 0) return;
    let left = accounts.entries(number);
    for (let entry = accounts.head(number); left > 0; left--) {
      if (this.sequence(entry) <= sequence) return;
      yield entry;
      entry = this.segments[entry >>> 16]!.previous[entry & 0xffff] as number;
    }
  }

  /** The place, for `at`, of the first entry of a record above `sequence`. */
  firstAfter(sequence: number): number {
    let low = this.sweptTo;
    let high = this.end;
    while (low < high) {
      const middle = Math.floor((low + high) / 2);
      if (this.sequence(this.reference(middle)) <= sequence) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** The place of the first entry in memory. */
  get firstPlace(): number {
    return this.sweptTo;
  }

  slotOfEntry(entry: number): number {
    return this.accounts.slot(this.accountNumberOf(entry));
  }

  /** The place after the last entry. Places are numbers that only grow. */
  get endPlace(): number {
    return this.end;
  }

  /** The entry at a place between `firstAfter` and `endPlace`. */
  at(place: number): number {
    return this.reference(place);
  }

  private reference(at: number): number {
    const segment = Math.floor(at / this.segmentEntries);
    return (((segment & 0xffff) << 16) | (at - segment * this.segmentEntries)) >>> 0;
  }
}

/** Whether `a` has at `aFrom` what `b` has in [from, to). */
export function sameBytes(a: Uint8Array, aFrom: number, b: Uint8Array, from: number, to: number): boolean {
  for (let i = from, j = aFrom; i < to; i++, j++) if (a[j] !== b[i]) return false;
  return true;
}
