import { accountName, type Batch, isAccountName } from '../transaction/batch.js';
import { enlarged } from './enlarged.js';
import { EntryTable, NONE } from './entry-table.js';

const FIRST_SIZE = 1_024;

/** Accounts that are looked up together. */
const STEP = 256;

const any = (): boolean => true;

/** What is kept of an account, side by side, so that it is in the cache together: HEAD is its newest entry. */
const HASH = 0;
const SLOT = 1;
const HEAD = 2;
const ENTRIES = 3;
const WIDTH = 4;

/**
 * The accounts of which a shard knows transactions, by number: columns instead of an object each, which a million of
 * them would leave to the garbage collector, and a table by keyed hash (entry-table.ts) instead of a Map, each of whose
 * look-ups would wait for several misses of the cache in a row. A number is given anew once its account has no entries
 * any more.
 */
export class AccountTable {
  readonly table = new EntryTable();
  private readonly names: string[] = [];
  private columns = new Uint32Array(WIDTH * FIRST_SIZE);
  private readonly free: number[] = [];

  /** How often a number was given back. */
  released = 0;

  constructor(private readonly slotOf: (account: string) => number) {}

  get size(): number {
    return this.names.length - this.free.length;
  }

  /** −1 where the account has no entries. */
  numberOf(name: string, hash: number): number {
    const number = this.table.find(hash, (number) => this.names[number] === name);
    return number === NONE ? -1 : number;
  }

  /** The same for all accounts of a batch: step by step for many of them, so that the misses of the cache overlap. */
  numbersOf(batch: Batch, hashes: Uint32Array): Int32Array {
    const numbers = new Int32Array(batch.accountCount);
    for (let from = 0; from < numbers.length; from += STEP) {
      this.look(batch, hashes, numbers, from, Math.min(numbers.length, from + STEP));
    }
    return numbers;
  }

  private look(batch: Batch, hashes: Uint32Array, numbers: Int32Array, from: number, to: number): void {
    for (let i = from; i < to; i++) {
      const first = this.table.find(hashes[i] as number, any);
      numbers[i] = first === NONE ? -1 : first;
    }
    // Names lie anywhere in memory: all of the step are asked for before the first is compared.
    let length = 0;
    for (let i = from; i < to; i++) {
      const number = numbers[i] as number;
      if (number >= 0) length += (this.names[number] as string).length;
    }
    for (let i = from; i < to && length > 0; i++) {
      const number = numbers[i] as number;
      if (number < 0 || isAccountName(batch, i, this.names[number] as string)) continue;
      numbers[i] = this.numberOf(accountName(batch, i), hashes[i] as number);
    }
  }

  /** The number of an account, given to it where it has none. */
  intern(name: string, hash: number): number {
    const known = this.numberOf(name, hash);
    if (known >= 0) return known;
    const number = this.free.pop() ?? this.names.length;
    const at = WIDTH * number;
    if (at === this.columns.length) this.columns = enlarged(this.columns, new Uint32Array(2 * this.columns.length));
    this.table.insert(hash, number);
    this.names[number] = name;
    this.columns[at + HASH] = hash;
    this.columns[at + SLOT] = this.slotOf(name);
    this.columns[at + HEAD] = NONE;
    return number;
  }

  name(number: number): string {
    return this.names[number] as string;
  }

  slot(number: number): number {
    return this.columns[WIDTH * number + SLOT] as number;
  }

  head(number: number): number {
    return this.columns[WIDTH * number + HEAD] as number;
  }

  entries(number: number): number {
    return this.columns[WIDTH * number + ENTRIES] as number;
  }

  /** Another entry, the newest one. Returns the one before it, or `NONE`. */
  push(number: number, entry: number): number {
    const at = WIDTH * number;
    const before = this.columns[at + HEAD] as number;
    this.columns[at + HEAD] = entry;
    this.columns[at + ENTRIES] = (this.columns[at + ENTRIES] as number) + 1;
    return before;
  }

  /** One entry less; after the last one the number is free. */
  release(number: number): void {
    const at = WIDTH * number;
    const left = (this.columns[at + ENTRIES] as number) - 1;
    this.columns[at + ENTRIES] = left;
    if (left > 0) return;
    this.table.remove(this.columns[at + HASH] as number, number);
    this.names[number] = '';
    this.free.push(number);
    this.released += 1;
  }
}
