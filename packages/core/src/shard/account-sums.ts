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
 * collector, and each addition a new bigint. A sum is `high` × 2^32 + `low`, and what of it got too large for that. What
 * is kept of an account lies in 16 bytes, so that it is in the cache together: `high`, `low`, `count`.
 */
export class AccountSums {
  /** `high` of account i at 2 × i. */
  private highs = new Float64Array(2 * FIRST_SIZE);
  /** The same bytes: `low`, 0 to 2^32 − 1, at 4 × i + 2, `count` behind it. */
  private words = new Uint32Array(this.highs.buffer);
  /** In units of 2^32. */
  private readonly large = new Map<number, bigint>();

  /** Adds `high` × 2^32 + `low` of `count` transactions; each part below 2^52 in magnitude, each may be negative. */
  add(account: number, low: number, high: number, count: number): void {
    const at = 4 * account + 2;
    if (at >= this.words.length) this.grow(at);
    const { highs, words } = this;
    const sum = (words[at] as number) + low;
    const carry = Math.floor(sum / HALF);
    words[at] = sum - carry * HALF;
    words[at + 1] = (words[at + 1] as number) + count;
    const sumOfHighs = (highs[2 * account] as number) + high + carry;
    const fits = Math.abs(sumOfHighs) <= HIGH_MAX;
    highs[2 * account] = fits ? sumOfHighs : 0;
    if (!fits) this.addLarge(account, BigInt(sumOfHighs));
  }

  /** Transactions that the sum is of. */
  count(account: number): number {
    const at = 4 * account + 3;
    return at < this.words.length ? (this.words[at] as number) : 0;
  }

  subtract(account: number, { sum, count }: AccountSum): void {
    const high = sum >> 32n;
    const fits = high <= HIGH_MAX && high >= -HIGH_MAX;
    if (!fits) this.addLarge(account, -high);
    this.add(account, -Number(BigInt.asUintN(32, sum)), fits ? -Number(high) : 0, -count);
  }

  get(account: number): AccountSum {
    const at = 4 * account + 2;
    if (at >= this.words.length) return { sum: 0n, count: 0 };
    const high = (this.large.get(account) ?? 0n) + BigInt(this.highs[2 * account] as number);
    return { sum: (high << 32n) + BigInt(this.words[at] as number), count: this.words[at + 1] as number };
  }

  private addLarge(account: number, high: bigint): void {
    this.large.set(account, (this.large.get(account) ?? 0n) + high);
  }

  private grow(at: number): void {
    let size = 2 * this.words.length;
    while (size <= at) size *= 2;
    this.highs = enlarged(this.highs, new Float64Array(size / 2));
    this.words = new Uint32Array(this.highs.buffer);
  }
}
