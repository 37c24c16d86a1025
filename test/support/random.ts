/** A stream of pseudo-random numbers that a seed repeats (mulberry32). */
export class Random {
  private state: number;

  constructor(readonly seed: number) {
    this.state = seed >>> 0;
  }

  /** In [0, 1). */
  next(): number {
    this.state = (this.state + 0x6d2b79f5) >>> 0;
    let t = this.state;
    t = Math.imul(t ^ (t >>> 15), t | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
  }

  /** A whole number from `min` to `max`, both inclusive. */
  int(min: number, max: number): number {
    return min + Math.floor(this.next() * (max - min + 1));
  }

  chance(probability: number): boolean {
    return this.next() < probability;
  }

  pick<T>(items: readonly T[]): T {
    return items[this.int(0, items.length - 1)] as T;
  }
}

/** `SPILL_TEST_SEED` repeats a run; each run prints its seed, so that one that failed can be run again. */
export function newSeed(what: string): number {
  // biome-ignore lint/suspicious/noUndeclaredEnvVars: turbo does not run the tests.
  const given = process.env.SPILL_TEST_SEED;
  const seed = given ? Number(given) : Math.floor(Math.random() * 2 ** 32);
  process.stderr.write(`seed of ${what}: ${seed} (SPILL_TEST_SEED=${seed} runs it again)\n`);
  return seed;
}
