import { accountName, type Batch, isAccountName } from '../transaction/batch.js';
import { enlarged } from './enlarged.js';
import { EntryTable, NONE } from './entry-table.js';

/** Of each account of a batch. */
export interface AccountNumbers {
  /** −1: not known. */
  readonly numbers: Int32Array;
  readonly slots: Uint16Array;
  /** How many numbers had been given back by then: they hold as long as none was since. */
  readonly released: number;
}

const FIRST_SIZE = 1_024;

/** Accounts that are looked up together. */
const STEP = 256;

const any = (): boolean => true;

/**
 * What is kept of an account, side by side, so that it is in the cache together: HEAD is its newest entry. A short name
 * of ASCII is at NAME, its length in the upper half of SLOT; that is 0 for any other name, which is a text.
 */
const HASH = 0;
const SLOT = 1;
const HEAD = 2;
const ENTRIES = 3;
const NAME = 4;
const WIDTH = 8;
const SHORT_NAME_BYTES = 4 * (WIDTH - NAME);
/** Words before the first: large memory begins 16 bytes after a line of the cache, and no account is to lie across two. */
const BEFORE = 12;

/**
 * The accounts of which a shard knows transactions, by number: columns instead of an object each, which a million of
 * them would leave to the garbage collector, and a table by keyed hash (entry-table.ts) instead of a Map, each of whose
 * look-ups would wait for several misses of the cache in a row. A number is given anew once its account has no entries
 * any more.
 */
export class AccountTable {
  readonly table = new EntryTable();
  /** '' in the place of a short one: a million texts would make the heap a large one. */
  private readonly names: string[] = [];
  private columns = new Uint32Array(BEFORE + WIDTH * FIRST_SIZE);
  /** The same memory. */
  private bytes = Buffer.from(this.columns.buffer);
  private readonly free: number[] = [];

  /** How often a number was given back. */
  released = 0;

  constructor(private readonly slotOf: (account: string) => number) {}

  get size(): number {
    return this.names.length - this.free.length;
  }

  /** −1 where the account has no entries. */
  numberOf(name: string, hash: number): number {
    const number = this.table.find(hash, (number) => this.isNamed(number, name));
    return number === NONE ? -1 : number;
  }

  /**
   * The same for all accounts of a batch, and their slots: step by step for many of them, so that the misses of the
   * cache overlap.
   */
  numbersOf(batch: Batch, hashes: Uint32Array): AccountNumbers {
    const numbers = new Int32Array(batch.accountCount);
    const slots = new Uint16Array(batch.accountCount);
    for (let from = 0; from < numbers.length; from += STEP) {
      this.look(batch, hashes, numbers, slots, from, Math.min(numbers.length, from + STEP));
    }
    return { numbers, slots, released: this.released };
  }

  private look(
    batch: Batch,
    hashes: Uint32Array,
    numbers: Int32Array,
    slots: Uint16Array,
    from: number,
    to: number,
  ): void {
    for (let i = from; i < to; i++) {
      const first = this.table.find(hashes[i] as number, any);
      numbers[i] = first === NONE ? -1 : first;
    }
    // Names lie anywhere in memory: all of the step are asked for before the first is compared.
    let length = 0;
    for (let i = from; i < to; i++) {
      const number = numbers[i] as number;
      if (number >= 0) length += this.shortLength(number) || (this.names[number] as string).length;
    }
    for (let i = from; i < to && length >= 0; i++) {
      let number = numbers[i] as number;
      if (number >= 0 && !this.isName(number, batch, i)) {
        number = this.numberOf(accountName(batch, i), hashes[i] as number);
        numbers[i] = number;
      }
      slots[i] = number >= 0 ? this.slot(number) : this.slotOf(accountName(batch, i));
    }
  }

  private shortLength(number: number): number {
    return (this.columns[placeOf(number) + SLOT] as number) >>> 16;
  }

  private isNamed(number: number, name: string): boolean {
    const length = this.shortLength(number);
    if (length === 0) return this.names[number] === name;
    if (name.length !== length) return false;
    const at = 4 * (placeOf(number) + NAME);
    for (let i = 0; i < length; i++) if (this.bytes[at + i] !== name.charCodeAt(i)) return false;
    return true;
  }

  private isName(number: number, batch: Batch, place: number): boolean {
    const length = this.shortLength(number);
    if (length === 0) return isAccountName(batch, place, this.names[number] as string);
    const from = batch.accountStarts[place] as number;
    if ((batch.accountStarts[place + 1] as number) - 1 - from !== length) return false;
    const at = 4 * (placeOf(number) + NAME);
    for (let i = 0; i < length; i++) if (this.bytes[at + i] !== batch.bytes[from + i]) return false;
    return true;
  }

  /** The number of an account, given to it where it has none. */
  intern(name: string, hash: number, slot: number): number {
    const known = this.numberOf(name, hash);
    if (known >= 0) return known;
    const number = this.free.pop() ?? this.names.length;
    const at = placeOf(number);
    if (at === this.columns.length) {
      this.columns = enlarged(this.columns, new Uint32Array(2 * at - BEFORE));
      this.bytes = Buffer.from(this.columns.buffer);
    }
    this.table.insert(hash, number);
    const shortLength = this.keepShort(name, 4 * (at + NAME));
    this.names[number] = shortLength > 0 ? '' : name;
    this.columns[at + HASH] = hash;
    this.columns[at + SLOT] = slot | (shortLength << 16);
    this.columns[at + HEAD] = NONE;
    return number;
  }

  /** Keeps a short name of ASCII at `at`. Returns its length, 0 for any other. */
  private keepShort(name: string, at: number): number {
    if (name.length > SHORT_NAME_BYTES) return 0;
    for (let i = 0; i < name.length; i++) {
      const unit = name.charCodeAt(i);
      if (unit >= 0x80) return 0;
      this.bytes[at + i] = unit;
    }
    return name.length;
  }

  name(number: number): string {
    const length = this.shortLength(number);
    if (length === 0) return this.names[number] as string;
    const at = 4 * (placeOf(number) + NAME);
    return this.bytes.toString('latin1', at, at + length);
  }

  slot(number: number): number {
    return (this.columns[placeOf(number) + SLOT] as number) & 0xffff;
  }

  head(number: number): number {
    return this.columns[placeOf(number) + HEAD] as number;
  }

  entries(number: number): number {
    return this.columns[placeOf(number) + ENTRIES] as number;
  }

  /** Another entry, the newest one. Returns the one before it, or `NONE`. */
  push(number: number, entry: number): number {
    const at = placeOf(number);
    const before = this.columns[at + HEAD] as number;
    this.columns[at + HEAD] = entry;
    this.columns[at + ENTRIES] = (this.columns[at + ENTRIES] as number) + 1;
    return before;
  }

  /** One entry less; after the last one the number is free. */
  release(number: number): void {
    const at = placeOf(number);
    const left = (this.columns[at + ENTRIES] as number) - 1;
    this.columns[at + ENTRIES] = left;
    if (left > 0) return;
    this.table.remove(this.columns[at + HASH] as number, number);
    this.names[number] = '';
    this.free.push(number);
    this.released += 1;
  }
}

function placeOf(number: number): number {
  return BEFORE + WIDTH * number;
}
