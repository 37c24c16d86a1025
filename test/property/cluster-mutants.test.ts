/**
 * That the cluster model can fail: lines are taken out of the built packages, one fault at a time (see
 * test/support/cluster/mutants.ts), and each must break the invariant that rests on it within so many runs. A run in
 * which something merely falls over proves nothing. The same runs pass with the system as it is.
 */
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { afterAll, describe, expect, it } from 'vitest';
import { clusterSteps, runCluster, runLoss } from '../support/cluster/cluster-steps.js';
import { type Invariant, Violation } from '../support/cluster/judge.js';
import { type Library, loadLibrary } from '../support/cluster/library.js';
import { MUTANTS, makeMutant, removeMutants } from '../support/cluster/mutants.js';

const sound = await loadLibrary(fileURLToPath(new URL('../../packages', import.meta.url)));

const { SOAK } = process.env;
/** Few are needed from a mutant's own seed on, as long as the code is what it was; with any other seed some hundred. */
const RUNS_MAX = SOAK ? 2_000 : 200;
const MINUTE_MS = 60_000;

/** @throws Violation, or the error that something broke with */
async function run(lib: Library, seed: number, invariant: Invariant): Promise<void> {
  const [[steps, order] = [[], 0]] = fc.sample(fc.tuple(clusterSteps, fc.nat()), { numRuns: 1, seed });
  if (invariant === 8) await runLoss(lib, steps, order, { shard: seed, records: 2 });
  else await runCluster(lib, steps, order);
}

/** The number of the run that broke the invariant. @throws Error where none did */
async function runsUntil(lib: Library, first: number, invariant: Invariant): Promise<number> {
  const otherwise = new Map<string, number>();
  for (let runs = 1; runs <= RUNS_MAX; runs++) {
    try {
      await run(lib, first + runs - 1, invariant);
    } catch (error) {
      if (error instanceof Violation && error.invariant === invariant) return runs;
      const what = (error as Error).message.slice(0, 80);
      otherwise.set(what, (otherwise.get(what) ?? 0) + 1);
    }
  }
  throw new Error(`not caught in ${RUNS_MAX} runs; seen otherwise: ${JSON.stringify([...otherwise])}`);
}

describe('a fault', { timeout: (SOAK ? 60 : 5) * MINUTE_MS }, () => {
  afterAll(removeMutants);

  it('is known for each invariant', () => {
    expect(new Set(MUTANTS.map(({ invariant }) => invariant))).toEqual(new Set([1, 2, 3, 4, 5, 6, 7, 8]));
  });

  it.each(MUTANTS.map((mutant) => ({ ...mutant, mutant })))(
    'breaks invariant $invariant, and nothing does without it: $fault',
    async ({ mutant, invariant, seed }) => {
      const first = SOAK ? Math.floor(Math.random() * 2 ** 30) : seed;
      const runs = await runsUntil(await loadLibrary(await makeMutant(mutant)), first, invariant);
      for (let i = 0; i < runs; i++) await run(sound, first + i, invariant);
      console.log(`caught by run ${runs} from seed ${first}: ${mutant.fault}`);
    },
  );
});
