/**
 * The sums beyond a watermark against a plain list, at every moment of every fold: in flight, committed, failed, its
 * reply lost, the data table set back; while ids are forgotten and swept, and account numbers given to other accounts.
 */
import { KnownIds, Pending } from '@spill/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { runs } from '../support/property-runs.js';

interface Entry {
  readonly account: string;
  readonly amount: bigint;
  readonly sequence: number;
}

type Step =
  | { readonly kind: 'store'; readonly rows: readonly { account: number; amount: bigint }[] }
  | { readonly kind: 'ack' | 'look' | 'commit' | 'reply lost' | 'fail' | 'fold from log' }
  | { readonly kind: 'fold'; readonly records: number }
  | { readonly kind: 'set back'; readonly records: number }
  | { readonly kind: 'forget'; readonly below: number }
  | { readonly kind: 'sweep'; readonly budget: number };

const amount = fc.oneof(
  fc.bigInt({ min: -3n, max: 3n }),
  fc.constantFrom(2n ** 63n - 1n, -(2n ** 63n) + 1n, 2n ** 32n, -(2n ** 32n), 2n ** 31n),
);

const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('store' as const),
      rows: fc.array(fc.record({ account: fc.nat(4), amount }), { maxLength: 5 }),
    }),
  },
  { weight: 6, arbitrary: fc.record({ kind: fc.constant('ack' as const) }) },
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('fold' as const), records: fc.integer({ min: 1, max: 4 }) }) },
  { weight: 5, arbitrary: fc.record({ kind: fc.constant('commit' as const) }) },
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constantFrom('look', 'look', 'reply lost', 'fail', 'fold from log') }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('set back' as const), records: fc.nat(6) }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('forget' as const), below: fc.nat(40) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('sweep' as const), budget: fc.nat(8) }) },
);

const encoder = new TextEncoder();

class Run {
  private readonly known = new KnownIds({ k0: 1, k1: 2 }, () => 0, 3);
  private readonly pending = new Pending(this.known);
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
        this.pending.beginFold(to, this.known.firstAfter(this.at), this.known.firstAfter(to));
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
    const id = encoder.encode(`${this.entries.length}`);
    const number = this.known.internAccount(name);
    const low = Number(BigInt.asUintN(32, amount));
    const high = Number(BigInt.asIntN(32, amount >> 32n));
    const hash = this.known.hash(id, 0, id.length);
    this.known.add(number, hash, id, 0, id.length, low, high, this.sequence, this.sequence);
    this.entries.push({ account: name, amount, sequence: this.sequence });
  }

  private commit(to: number): void {
    this.watermark = to;
    this.pending.commitFold(to);
    this.at = to;
    this.foldInFlight = null;
  }

  private check(): void {
    const accounts = new Set(this.entries.map((entry) => entry.account));
    const lastSwept = this.entries[this.swept - 1]?.sequence ?? 0;
    for (let watermark = 0; watermark <= this.sequence + 1; watermark++) {
      const can = watermark >= lastSwept && watermark <= this.acknowledged;
      expect(this.pending.canAnswer(watermark)).toBe(can);
      for (const account of [...accounts, 'nobody']) {
        if (!can) {
          expect(() => this.pending.beyond(account, watermark)).toThrow(RangeError);
          continue;
        }
        const beyond = this.entries.filter(
          (entry) => entry.account === account && entry.sequence > watermark && entry.sequence <= this.acknowledged,
        );
        expect(this.pending.beyond(account, watermark)).toEqual({
          sum: beyond.reduce((sum, entry) => sum + entry.amount, 0n),
          count: beyond.length,
        });
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
      fc.property(fc.array(step, { maxLength: 45, size: 'max' }), (steps) => {
        const run = new Run();
        for (const step of steps) run.step(step);
      }),
      runs(250),
    );
  });

  it('of a long run of one account are summed without rounding', () => {
    const known = new KnownIds({ k0: 1, k1: 2 }, () => 0);
    const pending = new Pending(known);
    const account = known.internAccount('hot');
    const bytes = encoder.encode('x');
    // 2^20 and some more of the largest halves: a sum in doubles would round.
    const rows = (1 << 20) + 5;
    for (let i = 0; i < rows; i++) known.add(account, i, bytes, 0, 1, 0xffff_ffff, 0x7fff_ffff, 1, 1);
    pending.acknowledge(0, rows, 1);
    pending.rebase(0);
    expect(pending.beyond('hot', 0)).toEqual({ sum: BigInt(rows) * (2n ** 63n - 1n), count: rows });
  });
});
