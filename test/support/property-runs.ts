import type fc from 'fast-check';

/** `SOAK=1` (`npm run soak`) repeats every property this many times as often, with new seeds, and stops in time. */
const SOAK_FACTOR = 40;
const SOAK_MS_MAX = 50_000;

/** How often a property runs. Seeds are random; fast-check prints the seed and path of a failure, to run it again. */
export function runs(numRuns: number): fc.Parameters<unknown> {
  // biome-ignore lint/suspicious/noUndeclaredEnvVars: turbo does not run the tests.
  if (!process.env.SOAK) return { numRuns };
  return { numRuns: numRuns * SOAK_FACTOR, interruptAfterTimeLimit: SOAK_MS_MAX };
}
