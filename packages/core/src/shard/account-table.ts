import { NONE } from './entry-table.js';

const FIRST_SIZE = 1_024;

/**
 * The accounts of which a shard knows transactions, by number: columns instead of an object each, which a million of
 * them would leave to the garbage collector. A number is given anew once its account has no entries any more.
 */
export class AccountTable {
  private readonly numbers = new Map<string, number>();
  private readonly names: string[] = [];
  private slots = new Uint16Array(FIRST_SIZE);
  /** The newest entry of each. */
  private heads = new Uint32Array(FIRST_SIZE);
  private counts = new Uint32Array(FIRST_SIZE);
  private readonly free: number[] = [];

  constructor(private readonly slotOf: (account: string) => number) {}

  get size(): number {
    return this.numbers.size;
  }

  /** −1 where the account has no entries. */
  numberOf(name: string): number {
    return this.numbers.get(name) ?? -1;
  }

  /** The number of an account, given to it where it has none. */
  intern(name: string): number {
    let number = this.numbers.get(name);
    if (number === undefined) {
      number = this.free.pop() ?? this.names.length;
      if (number === this.heads.length) this.grow();
      this.numbers.set(name, number);
      this.names[number] = name;
      this.slots[number] = this.slotOf(name);
      this.heads[number] = NONE;
    }
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
    this.numbers.delete(this.names[number] as string);
    this.names[number] = '';
    this.free.push(number);
  }

  private grow(): void {
    const size = 2 * this.heads.length;
    this.slots = enlarged(this.slots, new Uint16Array(size));
    this.heads = enlarged(this.heads, new Uint32Array(size));
    this.counts = enlarged(this.counts, new Uint32Array(size));
  }
}

function enlarged<T extends Uint16Array | Uint32Array>(from: T, to: T): T {
  to.set(from);
  return to;
}
