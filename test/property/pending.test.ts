/**
 * The sums beyond a watermark against a plain list, at every moment of every fold: in flight, committed, failed, its
 * reply lost, the data table set back; while ids are forgotten and swept, and account numbers given to other accounts.
 */
import { KnownIds, Pending } from '@spill/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { addKnown } from '../support/add-known.js';
import { runs } from '../support/property-runs.js';

interface Entry {
  readonly account: string;
  readonly amount: bigint;
  readonly sequence: number;
}

type Step =
  | { readonly kind: 'store'; readonly rows: readonly { account: number; amount: bigint }[] }
  | { readonly kind: 'store and ack'; readonly rows: readonly { account: number; amount: bigint }[] }
  | { readonly kind: 'ack' | 'look' | 'commit' | 'reply lost' | 'fail' | 'fold from log' }
  | { readonly kind: 'fold' | 'fold and commit'; readonly records: number }
  | { readonly kind: 'set back'; readonly records: number }
  | { readonly kind: 'forget'; readonly below: number }
  | { readonly kind: 'sweep'; readonly budget: number };

const amount = fc.oneof(
  fc.bigInt({ min: -3n, max: 3n }),
  fc.constantFrom(2n ** 63n - 1n, -(2n ** 63n) + 1n, 2n ** 32n, -(2n ** 32n), 2n ** 31n),
);

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      kind: fc.constantFrom('store' as const, 'store and ack' as const),
      rows: fc.array(fc.record({ account: fc.nat(4), amount }), { maxLength: 5 }),
    }),
  },
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('ack' as const) }) },
  {
    weight: 10,
    arbitrary: fc.record({
      kind: fc.constantFrom('fold' as const, 'fold and commit' as const),
      records: fc.integer({ min: 1, max: 4 }),
    }),
  },
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('commit' as const) }) },
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constantFrom('look', 'look', 'reply lost', 'fail', 'fold from log') }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('set back' as const), records: fc.nat(6) }) },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant('forget' as const), below: fc.integer({ min: 10, max: 60 }) }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('sweep' as const), budget: fc.nat(8) }) },
);

const KEY = { k0: 1, k1: 2 };

class Run {
  private readonly known = new KnownIds(KEY, () => 0, 3);
  private readonly pending = new Pending(this.known, 3);
  private readonly entries: Entry[] = [];
  private swept = 0;
  private sequence = 0;
  private acknowledged = 0;
  /** Places of the record in flight. */
  private recordInFlight: { from: number; to: number } | null = null;
  /** In the data table. */
  private watermark = 0;
  /** What the shard knows of it for certain; null: it has to look. */
  private at: number | null = null;
  private foldInFlight: number | null = null;
  private foldedUpTo = 0;
  /** The watermark before the last committed fold: a reader may have read it just before. */
  private before: number | null = null;
  private wasSetBack = false;

  step(step: Step): void {
    switch (step.kind) {
      case 'store': {
        // One record in flight.
        if (this.recordInFlight) break;
        this.sequence += 1;
        const from = this.known.endPlace;
        for (const row of step.rows) this.store(row.account, row.amount);
        this.recordInFlight = { from, to: this.known.endPlace };
        break;
      }
      case 'store and ack':
        this.step({ kind: 'store', rows: step.rows });
        this.step({ kind: 'ack' });
        return;
      case 'fold and commit':
        if (this.at === null) this.step({ kind: 'look' });
        this.step({ kind: 'fold', records: step.records });
        this.step({ kind: 'commit' });
        return;
      case 'ack':
        if (!this.recordInFlight) break;
        this.acknowledged = this.sequence;
        this.pending.acknowledge(this.recordInFlight.from, this.recordInFlight.to, this.sequence);
        this.recordInFlight = null;
        break;
      case 'look':
        this.pending.rebase(this.watermark);
        this.at = this.watermark;
        this.before = null;
        this.foldInFlight = null;
        break;
      case 'fold': {
        if (this.at === null || this.at < this.foldedUpTo) break;
        const to = Math.min(this.acknowledged, this.at + step.records);
        if (to === this.at) break;
        // It takes the place of one that failed, with more records or with fewer.
        let steps = 0;
        this.foldInFlight = null;
        // Whatever else a shard does may come between its steps.
        for (const _ of this.pending.beginFold(to, this.known.firstAfter(this.at), this.known.firstAfter(to))) {
          steps += 1;
          this.step({ kind: 'store', rows: [{ account: steps % 3, amount: 7n }] });
          if (steps % 2 === 1) this.step({ kind: 'ack' });
          this.step({ kind: 'forget', below: 10 + 7 * steps });
          this.step({ kind: 'sweep', budget: 5 });
        }
        this.foldInFlight = to;
        break;
      }
      case 'commit':
        if (this.foldInFlight === null) break;
        if (this.watermark !== this.at) {
          // Refused: the row is another.
          this.at = null;
          this.foldInFlight = null;
          break;
        }
        this.before = this.at;
        this.commit(this.foldInFlight);
        break;
      case 'reply lost':
        if (this.foldInFlight === null || this.watermark !== this.at) break;
        this.watermark = this.foldInFlight;
        this.foldInFlight = null;
        this.at = null;
        break;
      case 'fail':
        this.foldInFlight = null;
        break;
      case 'fold from log': {
        if (this.at === null || this.at !== this.watermark || this.at >= this.foldedUpTo) break;
        this.before = null;
        this.commit(Math.min(this.foldedUpTo, this.at + 2));
        break;
      }
      case 'set back':
        this.wasSetBack ||= step.records > 0 && this.watermark > 0;
        this.watermark = Math.max(0, this.watermark - step.records);
        break;
      case 'forget': {
        const { oldestAnswered } = this.pending;
        if (oldestAnswered === null) break;
        this.foldedUpTo = Math.max(this.foldedUpTo, oldestAnswered);
        this.known.forget(step.below, this.foldedUpTo, 0);
        break;
      }
      case 'sweep':
        this.swept += this.known.sweep(step.budget);
        break;
    }
    this.check();
  }

  private store(account: number, amount: bigint): void {
    // Accounts come and go, so that numbers are given again.
    const name = `account-${account}-${Math.floor(this.sequence / 4)}`;
    const row = { account: name, id: `${this.entries.length}`, amount, timestamp: this.sequence };
    addKnown(this.known, KEY, [row], this.sequence);
    this.entries.push({ account: name, amount, sequence: this.sequence });
  }

  private commit(to: number): void {
    this.watermark = to;
    this.pending.commitFold(to);
    this.at = to;
    this.foldInFlight = null;
  }

  private sumsBeyond(watermark: number): Map<string, { sum: bigint; count: number }> {
    const sums = new Map<string, { sum: bigint; count: number }>();
    for (const { account, amount, sequence } of this.entries) {
      if (sequence <= watermark || sequence > this.acknowledged) continue;
      const before = sums.get(account) ?? { sum: 0n, count: 0 };
      sums.set(account, { sum: before.sum + amount, count: before.count + 1 });
    }
    return sums;
  }

  private check(): void {
    const accounts = [...new Set(this.entries.map((entry) => entry.account)), 'nobody'];
    const lastSwept = this.entries[this.swept - 1]?.sequence ?? 0;
    for (let watermark = 0; watermark <= this.sequence + 1; watermark++) {
      const can = watermark >= lastSwept && watermark <= this.acknowledged;
      if (this.pending.canAnswer(watermark) !== can) expect.fail(`canAnswer(${watermark}) must be ${can}`);
      if (!can) {
        expect(() => this.pending.beyond('nobody', watermark)).toThrow(RangeError);
        continue;
      }
      const sums = this.sumsBeyond(watermark);
      for (const account of accounts) {
        const want = sums.get(account) ?? { sum: 0n, count: 0 };
        const got = this.pending.beyond(account, watermark);
        // An `expect` for each would take most of the time.
        if (got.sum !== want.sum || got.count !== want.count) expect({ account, watermark, ...got }).toEqual(want);
      }
    }
    if (this.at === null) return;
    const inMemory = this.entries.slice(this.swept);
    const counted = inMemory.filter(
      (entry) => entry.sequence > (this.at as number) && entry.sequence <= this.acknowledged,
    );
    expect(this.pending.count).toBe(counted.length);
    // A reader that saw the row before or after the last fold, or after the one in flight, is always answered; but for
    // a database that was set back to before what is in memory.
    if (this.wasSetBack) return;
    for (const watermark of [this.before, this.at, this.foldInFlight]) {
      if (watermark !== null) expect(this.pending.canAnswer(watermark)).toBe(true);
    }
  }
}

describe('pending sums', () => {
  it('are exact beyond every watermark, or refused', () => {
    fc.assert(
      fc.property(fc.array(step, { minLength: 20, maxLength: 80, size: 'max' }), (steps) => {
        const run = new Run();
        for (const step of steps) run.step(step);
      }),
      runs(200),
    );
  });

  it('of a long run of one account are summed without rounding', () => {
    const known = new KnownIds(KEY, () => 0);
    const pending = new Pending(known);
    // More than 2^21 of the largest halves: a sum in doubles would round.
    const rows = (1 << 21) + 1_000;
    for (let from = 0; from < rows; from += 50_000) {
      const batch = Array.from({ length: Math.min(50_000, rows - from) }, (_, i) => ({
        account: 'hot',
        id: `${from + i}`,
        amount: 2n ** 63n - 1n,
        timestamp: 1,
      }));
      addKnown(known, KEY, batch, 1);
    }
    pending.acknowledge(0, rows, 1);
    pending.rebase(0);
    expect(pending.beyond('hot', 0)).toEqual({ sum: BigInt(rows) * (2n ** 63n - 1n), count: rows });
  });
});
