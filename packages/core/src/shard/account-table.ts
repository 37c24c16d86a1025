import type { Batch } from '../transaction/batch.js';
import { enlarged } from './enlarged.js';
import { EntryTable, NONE } from './entry-table.js';

const FIRST_SIZE = 1_024;

const any = (): boolean => true;

/**
 * The accounts of which a shard knows transactions, by number: columns instead of an object each, which a million of
 * them would leave to the garbage collector, and a table by keyed hash (entry-table.ts) instead of a Map, each of whose
 * look-ups would wait for several misses of the cache in a row. A number is given anew once its account has no entries
 * any more.
 */
export class AccountTable {
  readonly table = new EntryTable();
  private readonly names: string[] = [];
  private hashes = new Uint32Array(FIRST_SIZE);
  private slots = new Uint16Array(FIRST_SIZE);
  /** The newest entry of each. */
  private heads = new Uint32Array(FIRST_SIZE);
  private counts = new Uint32Array(FIRST_SIZE);
  private readonly free: number[] = [];

  constructor(private readonly slotOf: (account: string) => number) {}

  get size(): number {
    return this.names.length - this.free.length;
  }

  /** −1 where the account has no entries. */
  numberOf(name: string, hash: number): number {
    const number = this.table.find(hash, (number) => this.names[number] === name);
    return number === NONE ? -1 : number;
  }

  /** The same for all accounts of a batch: step by step for all of them, so that the misses of the cache overlap. */
  numbersOf({ accounts }: Batch, hashes: Uint32Array): Int32Array {
    const numbers = new Int32Array(accounts.length);
    for (let i = 0; i < numbers.length; i++) {
      const first = this.table.find(hashes[i] as number, any);
      numbers[i] = first === NONE ? -1 : first;
    }
    for (let i = 0; i < numbers.length; i++) {
      const number = numbers[i] as number;
      const name = accounts[i] as string;
      if (number >= 0 && this.names[number] !== name) numbers[i] = this.numberOf(name, hashes[i] as number);
    }
    return numbers;
  }

  /** The number of an account, given to it where it has none. */
  intern(name: string, hash: number): number {
    const known = this.numberOf(name, hash);
    if (known >= 0) return known;
    const number = this.free.pop() ?? this.names.length;
    if (number === this.heads.length) this.grow();
    this.table.insert(hash, number);
    this.names[number] = name;
    this.hashes[number] = hash;
    this.slots[number] = this.slotOf(name);
    this.heads[number] = NONE;
    return number;
  }

  name(number: number): string {
    return this.names[number] as string;
  }

  slot(number: number): number {
    return this.slots[number] as number;
  }

  head(number: number): number {
    return this.heads[number] as number;
  }

  entries(number: number): number {
    return this.counts[number] as number;
  }

  /** Another entry, the newest one. Returns the one before it, or `NONE`. */
  push(number: number, entry: number): number {
    const before = this.heads[number] as number;
    this.heads[number] = entry;
    this.counts[number] = (this.counts[number] as number) + 1;
    return before;
  }

  /** One entry less; after the last one the number is free. */
  release(number: number): void {
    const left = (this.counts[number] as number) - 1;
    this.counts[number] = left;
    if (left > 0) return;
    this.table.remove(this.hashes[number] as number, number);
    this.names[number] = '';
    this.free.push(number);
  }

  private grow(): void {
    const size = 2 * this.heads.length;
    this.hashes = enlarged(this.hashes, new Uint32Array(size));
    this.slots = enlarged(this.slots, new Uint16Array(size));
    this.heads = enlarged(this.heads, new Uint32Array(size));
    this.counts = enlarged(this.counts, new Uint32Array(size));
  }
}
