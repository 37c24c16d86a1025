/**
 * What of a shard's log is not in the data table yet: sums per account beyond a watermark, for balance reads and for
 * the fold. Counts acknowledged records only.
 *
 * A reader names the watermark that it saw in SQL. That may be the one before the fold in flight or the one after it,
 * or the one before the last fold; those are answered from sums:
 *
 * ```
 *      base ──── last fold ────▶ last.to ──── fold in flight ────▶ inFlight.to ──── not folded ────▶ acknowledged
 *       └──────────────────────────────── totals ──────────────────────────────────────────────────────┘
 * ```
 *
 * Any other is answered by walking the account's entries, as long as all of them beyond it are in memory. Entries
 * beyond `base` are pinned there: their account's number must not be given to another account while it has sums.
 */
import { type AccountSum, AccountSums } from './account-sums.js';
import type { KnownIds } from './known-ids.js';

interface FoldedRange {
  readonly to: number;
  readonly sums: Map<number, AccountSum>;
}

/** 2^20 halves of 32 bits stay within what sums take, and far below 2^53. */
const RUN_MAX = 1 << 20;
/** Transactions whose accounts are asked for together. */
const TOTAL_STEP = 256;
/** Transactions that a step of `beginFold` sums. */
const FOLD_STEP = 8_192;

export class Pending {
  /** Beyond `base`: what the oldest watermark that is answered from sums does not cover. */
  private totals = new AccountSums();
  private base: number | null = null;
  /** Committed, but a reader may have seen the watermark before it. */
  private last: FoldedRange | null = null;
  private inFlight: FoldedRange | null = null;
  private acknowledged = 0;
  private counted = 0;

  constructor(
    private readonly known: KnownIds,
    /** Smaller ones only in tests. */
    private readonly foldStep = FOLD_STEP,
  ) {}

  /** Transactions in memory beyond the last watermark that is known; 0 before the first look at the data table. */
  get count(): number {
    return this.counted;
  }

  /**
   * The oldest watermark that is answered from sums; null before the first look at the data table. Nothing above it may
   * be forgotten: a reader that saw it would miss what is gone.
   */
  get oldestAnswered(): number | null {
    return this.base;
  }

  /** The entries in the places [from, to) were acknowledged; they end with record `sequence`. */
  acknowledge(from: number, to: number, sequence: number): void {
    this.acknowledged = sequence;
    if (this.base === null) return;
    this.total(from, to);
    this.counted += to - from;
  }

  /** The watermark is known to be at `sequence`, by a look at the data table: count anew from the entries. */
  rebase(sequence: number): void {
    this.setBase(sequence);
    this.last = null;
    this.inFlight = null;
    this.totals = new AccountSums();
    const from = this.known.firstAfter(sequence);
    const to = this.known.firstAfter(this.acknowledged);
    this.total(from, to);
    this.counted = Math.max(0, to - from);
  }

  /**
   * A fold of the records up to `to` is about to be sent; the entries are those in the places [fromPlace, toPlace),
   * all beyond the last committed watermark, none of which is forgotten meanwhile. It takes the place of one that was sent
   * before and not committed. In steps of some milliseconds; sent only after the last.
   */
  *beginFold(to: number, fromPlace: number, toPlace: number): Generator<undefined, void> {
    if (this.base === null) throw new Error('a fold begins at an unknown watermark');
    const sums = new Map<number, AccountSum>();
    for (let place = fromPlace; place < toPlace; place += this.foldStep) {
      if (place > fromPlace) yield;
      this.eachRun(place, Math.min(toPlace, place + this.foldStep), (account, low, high, count) => {
        const before = sums.get(account);
        const sum = (before?.sum ?? 0n) + BigInt(low) + (BigInt(high) << 32n);
        sums.set(account, { sum, count: (before?.count ?? 0) + count });
      });
    }
    this.inFlight = { to, sums };
  }

  /**
   * The fold up to `to` was committed. The one before it is no longer answered from sums. Where the fold was begun
   * otherwise than by `beginFold` (its rows were read from the log), the sums are counted anew.
   */
  commitFold(to: number): void {
    const { last, inFlight } = this;
    if (inFlight?.to !== to) {
      this.rebase(to);
      return;
    }
    if (last) {
      for (const [account, folded] of last.sums) this.totals.subtract(account, folded);
      this.setBase(last.to);
    }
    this.last = inFlight;
    this.inFlight = null;
    this.counted = this.known.firstAfter(this.acknowledged) - this.known.firstAfter(to);
  }

  /**
   * Whether `beyond` can tell exactly. Not where entries beyond the watermark are gone from memory (it is an old one, or
   * the data table was set back), nor beyond the last acknowledged record (somebody else has written since): such a
   * reader looks at the data table again.
   */
  canAnswer(watermark: number): boolean {
    return watermark >= this.known.completeAbove && watermark <= this.acknowledged;
  }

  /**
   * The sum of an account's acknowledged transactions beyond exactly `watermark`.
   *
   * @throws RangeError where `canAnswer` is false: never a partial sum.
   */
  beyond(account: string, watermark: number): AccountSum {
    if (!this.canAnswer(watermark))
      throw new RangeError(`the sums beyond watermark ${watermark} are not known any more`);
    const number = this.known.accountNumber(account);
    if (number < 0) return { sum: 0n, count: 0 };
    const covered: FoldedRange[] = [];
    for (const range of [this.last, this.inFlight]) if (range && range.to <= watermark) covered.push(range);
    const exact = watermark === (covered.at(-1)?.to ?? this.base);
    if (!exact) return this.walk(account, watermark);
    let { sum, count } = this.totals.get(number);
    for (const range of covered) {
      const folded = range.sums.get(number);
      if (!folded) continue;
      sum -= folded.sum;
      count -= folded.count;
    }
    return { sum, count };
  }

  private setBase(sequence: number): void {
    this.base = sequence;
    this.known.pin(sequence);
  }

  private walk(account: string, watermark: number): AccountSum {
    const total = { sum: 0n, count: 0 };
    for (const entry of this.known.entriesOfAccount(account, watermark)) {
      if (this.known.sequence(entry) > this.acknowledged) continue;
      total.sum += this.known.amount(entry);
      total.count += 1;
    }
    return total;
  }

  private total(from: number, to: number): void {
    const { totals, known } = this;
    for (let place = from; place < to; place += TOTAL_STEP) {
      const stepTo = Math.min(to, place + TOTAL_STEP);
      // Sums lie anywhere in memory: all of the step are asked for before the first is added to.
      let counted = 0;
      for (let at = place; at < stepTo; at++) counted += totals.count(known.accountNumberOf(known.at(at)));
      if (counted >= 0)
        this.eachRun(place, stepTo, (account, low, high, count) => totals.add(account, low, high, count));
    }
  }

  /** Runs of one account at the places [from, to), summed in halves: one call a run instead of one a row. */
  private eachRun(
    from: number,
    to: number,
    run: (account: number, low: number, high: number, count: number) => void,
  ): void {
    let place = from;
    while (place < to) {
      const account = this.known.accountNumberOf(this.known.at(place));
      let low = 0;
      let high = 0;
      const runFrom = place;
      const runTo = Math.min(to, place + RUN_MAX);
      do {
        const entry = this.known.at(place);
        low += this.known.amountLow(entry);
        high += this.known.amountHigh(entry);
        place += 1;
      } while (place < runTo && this.known.accountNumberOf(this.known.at(place)) === account);
      run(account, low, high, place - runFrom);
    }
  }
}
