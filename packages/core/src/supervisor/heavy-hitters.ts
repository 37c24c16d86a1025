/**
 * The most frequent of many keys in bounded memory: Space-Saving (Metwally, Agrawal, El Abbadi 2005). A new key takes the
 * place of the least one and inherits its count, so a count is never too low, and too high by at most the least count.
 */
export class HeavyHitters {
  private counts = new Map<string, number>();

  constructor(private readonly keysMax: number) {}

  add(key: string, weight = 1): void {
    const count = this.counts.get(key);
    if (count !== undefined) {
      this.counts.set(key, count + weight);
      return;
    }
    if (this.counts.size < this.keysMax) {
      this.counts.set(key, weight);
      return;
    }
    let leastKey = '';
    let least = Number.POSITIVE_INFINITY;
    for (const [other, otherCount] of this.counts) {
      if (otherCount >= least) continue;
      least = otherCount;
      leastKey = other;
    }
    this.counts.delete(leastKey);
    this.counts.set(key, least + weight);
  }

  /** The `count` heaviest keys, the heaviest first. */
  top(count: number): [key: string, weight: number][] {
    return [...this.counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).slice(0, count);
  }

  /** Halves all counts, so that what was long ago fades. */
  fade(): void {
    for (const [key, count] of this.counts) {
      if (count >= 2) this.counts.set(key, count / 2);
      else this.counts.delete(key);
    }
  }
}
