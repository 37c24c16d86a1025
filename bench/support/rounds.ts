import type { Run } from '../scenario.js';
import type { Bed } from './bed.js';

export interface Measured {
  /** What the median is taken of. */
  readonly value: number;
  readonly p50Ms?: number;
  readonly p99Ms?: number;
}

export interface Part {
  readonly name: string;
  /** Once a round, in turn with the other parts. */
  readonly measure: () => Promise<Measured>;
  /** Once before the first round. */
  readonly warmUp?: () => Promise<unknown>;
}

export interface Rounds {
  /** The round whose value is the median. */
  readonly median: Measured;
  readonly values: readonly number[];
}

/** Warms every part up, then runs all of them in turn, `rounds` times. Each begins with the bed at rest. */
export async function inRounds(
  run: Run,
  bed: Bed,
  rounds: number,
  parts: readonly Part[],
): Promise<Map<string, Rounds>> {
  const measured = new Map<string, Measured[]>(parts.map(({ name }) => [name, []]));
  for (const { name, warmUp } of parts) {
    if (!warmUp) continue;
    await bed.rest();
    run.says(`warm-up: ${name}`);
    await warmUp();
  }
  for (let round = 1; round <= rounds; round++) {
    for (const { name, measure } of parts) {
      await bed.rest();
      run.says(`round ${round} of ${rounds}: ${name}`);
      measured.get(name)?.push(await measure());
    }
  }
  return new Map(
    [...measured].map(([name, all]) => [name, { median: medianOf(all), values: all.map(({ value }) => value) }]),
  );
}

/** The one in the middle. */
function medianOf(all: readonly Measured[]): Measured {
  const sorted = [...all].sort((a, b) => a.value - b.value);
  return sorted[Math.floor(sorted.length / 2)] as Measured;
}
