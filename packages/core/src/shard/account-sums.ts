import { enlarged } from './enlarged.js';

export interface AccountSum {
  readonly sum: bigint;
  readonly count: number;
}

const FIRST_SIZE = 1_024;
const HALF = 0x1_0000_0000;
/** Above this, a sum of upper halves moves into a bigint: so far below 2^53 that what is added next (below 2^52) is exact. */
const HIGH_MAX = 2 ** 51;

/**
 * Exact sums by account number, in columns: a million accounts would else be a million objects for the garbage
 * collector, and each addition a new bigint. A sum is `high` × 2^32 + `low`, and what of it got too large for that.
 */
export class AccountSums {
  /** 0 to 2^32 − 1. */
  private low = new Uint32Array(FIRST_SIZE);
  private high = new Float64Array(FIRST_SIZE);
  private counts = new Uint32Array(FIRST_SIZE);
  /** In units of 2^32. */
  private readonly large = new Map<number, bigint>();

  /** Adds `high` × 2^32 + `low` of `count` transactions; each part below 2^52 in magnitude, each may be negative. */
  add(account: number, low: number, high: number, count: number): void {
    if (account >= this.counts.length) this.grow(account);
    const sum = (this.low[account] as number) + low;
    const carry = Math.floor(sum / HALF);
    this.low[account] = sum - carry * HALF;
    this.high[account] = (this.high[account] as number) + high + carry;
    this.counts[account] = (this.counts[account] as number) + count;
    if (Math.abs(this.high[account] as number) <= HIGH_MAX) return;
    this.addLarge(account, BigInt(this.high[account] as number));
    this.high[account] = 0;
  }

  subtract(account: number, { sum, count }: AccountSum): void {
    const high = sum >> 32n;
    const fits = high <= HIGH_MAX && high >= -HIGH_MAX;
    if (!fits) this.addLarge(account, -high);
    this.add(account, -Number(BigInt.asUintN(32, sum)), fits ? -Number(high) : 0, -count);
  }

  get(account: number): AccountSum {
    if (account >= this.counts.length) return { sum: 0n, count: 0 };
    const high = (this.large.get(account) ?? 0n) + BigInt(this.high[account] as number);
    return { sum: (high << 32n) + BigInt(this.low[account] as number), count: this.counts[account] as number };
  }

  private addLarge(account: number, high: bigint): void {
    this.large.set(account, (this.large.get(account) ?? 0n) + high);
  }

  private grow(account: number): void {
    let size = 2 * this.counts.length;
    while (size <= account) size *= 2;
    this.low = enlarged(this.low, new Uint32Array(size));
    this.high = enlarged(this.high, new Float64Array(size));
    this.counts = enlarged(this.counts, new Uint32Array(size));
  }
}
