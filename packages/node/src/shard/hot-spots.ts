import { HeavyHitters, type KnownIds, SLOT_COUNT } from '@spill/core';

const SAMPLE_EVERY = 16;
/** Of a large record's transactions about so many are looked at, at least one in sixteen. */
const LOOKED_AT = 512;
const STRIDE_MAX = 16;
const ACCOUNTS_MAX = 64;
const WINDOW_MS = 2_000;
const SLOTS_SHOWN = 128;
const ACCOUNTS_SHOWN = 10;

/** Which slots and accounts a shard's traffic goes to, sampled where there is much. Rates over the last 2 to 4 s. */
export class HotSpots {
  private counts = new Uint32Array(SLOT_COUNT);
  private rates = new Float64Array(SLOT_COUNT);
  private readonly accounts = new HeavyHitters(ACCOUNTS_MAX);
  private since = performance.now();
  private sampled = 0;
  /** Transactions of the next record before the first that is looked at. */
  private skipped = 0;
  private readonly random = new Random();

  constructor(private readonly known: KnownIds) {}

  /** The transactions at the places [from, to) were stored. */
  add(from: number, to: number): void {
    const stride = Math.min(STRIDE_MAX, Math.max(1, Math.floor((to - from) / LOOKED_AT)));
    let place = from + this.skipped;
    // Steps of changing length, `stride` in the mean: accounts that take turns would else meet one step or none.
    for (; place < to; place += stride === 1 ? 1 : 1 + this.random.below(2 * stride - 1)) {
      const entry = this.known.at(place);
      const slot = this.known.slotOfEntry(entry);
      this.counts[slot] = (this.counts[slot] as number) + stride;
      this.sampled += stride;
      if (this.sampled < SAMPLE_EVERY) continue;
      this.sampled -= SAMPLE_EVERY;
      this.accounts.add(this.known.account(entry));
    }
    this.skipped = place - to;
  }

  /** The heaviest slots and accounts, in transactions a second; called about once a second. */
  report(): { slots: [number, number][]; accounts: [string, number][] } {
    const elapsed = performance.now() - this.since;
    if (elapsed >= WINDOW_MS) {
      this.rates = Float64Array.from(this.counts, (count) => Math.round((count * 1000) / elapsed));
      this.counts = new Uint32Array(SLOT_COUNT);
      this.since = performance.now();
      this.accounts.fade();
    }
    const slots: [number, number][] = [];
    this.rates.forEach((rate, slot) => {
      if (rate > 0) slots.push([slot, rate]);
    });
    slots.sort((a, b) => b[1] - a[1]);
    // A sketch that fades by half each window holds about two windows of samples.
    const scale = (SAMPLE_EVERY * 1000) / (2 * WINDOW_MS);
    const accounts = this.accounts
      .top(ACCOUNTS_SHOWN)
      .map(([key, weight]): [string, number] => [key, Math.round(weight * scale)]);
    return { slots: slots.slice(0, SLOTS_SHOWN), accounts };
  }
}

/** Xorshift (G. Marsaglia, 2003): evenly enough, and quick. */
class Random {
  private state = 0x9e37_79b9;

  /** 0 to before `count`. */
  below(count: number): number {
    let { state } = this;
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    this.state = state;
    return (state >>> 0) % count;
  }
}
