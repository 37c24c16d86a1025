/**
 * The most frequent of many keys in bounded memory: Space-Saving (Metwally, Agrawal, El Abbadi 2005). A new key takes the
 * place of the least one and inherits its count, so a count is never too low, and too high by at most the least count.
 */
export class HeavyHitters {
  private counts = new Map<string, number>();
  /** Keys that had the least count when it was looked for: where all keys are rare, a look serves many of them. */
  private leastKeys: string[] = [];
  private least = 0;

  constructor(private readonly keysMax: number) {}

  add(key: string, weight = 1): void {
    const { counts } = this;
    const count = counts.get(key);
    if (count === undefined && counts.size === this.keysMax) {
      counts.delete(this.takeLeast());
      counts.set(key, this.least + weight);
    } else {
      counts.set(key, (count ?? 0) + weight);
    }
  }

  /** A key with the least count. Counts only grow, so that one with that count still has the least. */
  private takeLeast(): string {
    const { counts, leastKeys } = this;
    for (let key = leastKeys.pop(); key !== undefined; key = leastKeys.pop()) {
      if (counts.get(key) === this.least) return key;
    }
    this.least = Math.min(...counts.values());
    this.leastKeys = [...counts.keys()].filter((key) => counts.get(key) === this.least);
    return this.leastKeys.pop() as string;
  }

  /** The `count` heaviest keys, the heaviest first. */
  top(count: number): [key: string, weight: number][] {
    return [...this.counts].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).slice(0, count);
  }

  /** Halves all counts, so that what was long ago fades. */
  fade(): void {
    this.leastKeys = [];
    for (const [key, count] of this.counts) {
      if (count >= 2) this.counts.set(key, count / 2);
      else this.counts.delete(key);
    }
  }
}
