/**
 * The whole cluster over models of its surroundings: see test/support/cluster. Anything may come in between anything:
 * messages lost, late, repeated and out of order, any process killed at any step and started again, two supervisors at
 * work, migrations begun, given up and taken on, shards made and closed, a data table that goes away or back.
 *
 * A failure prints its seed and path; SPILL_CLUSTER_SEED and SPILL_CLUSTER_PATH run that very one again, and
 * SPILL_CLUSTER_SHRINK=1 looks for a shorter one, which may take long.
 */
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { describe, it } from 'vitest';
import { clusterSteps, runCluster, runLoss } from '../support/cluster/cluster-steps.js';
import { loadLibrary } from '../support/cluster/library.js';

const lib = await loadLibrary(fileURLToPath(new URL('../../packages', import.meta.url)));

const { SOAK, SPILL_CLUSTER_SEED: seed, SPILL_CLUSTER_PATH: path, SPILL_CLUSTER_SHRINK: shrink } = process.env;
const HOUR_MS = 3_600_000;

function runs(few: number, many: number): fc.Parameters<unknown> {
  return {
    numRuns: SOAK ? many : few,
    endOnFailure: !shrink,
    ...(seed ? { seed: Number(seed) } : {}),
    ...(path ? { path } : {}),
  };
}

describe('a cluster', { timeout: SOAK ? 6 * HOUR_MS : HOUR_MS / 6 }, () => {
  it('loses nothing, doubles nothing, tells nothing wrong, and comes to rest', async () => {
    await fc.assert(
      fc.asyncProperty(clusterSteps, fc.nat(), async (steps, seed) => {
        await runCluster(lib, steps, seed);
      }),
      runs(100, 10_000),
    );
  });

  it('reports what a log has lost, whatever was moving', async () => {
    const loss = fc.record({ shard: fc.nat(9), records: fc.integer({ min: 1, max: 4 }) });
    await fc.assert(
      fc.asyncProperty(clusterSteps, fc.nat(), loss, async (steps, seed, loss) => {
        await runLoss(lib, steps, seed, loss);
      }),
      runs(20, 1_000),
    );
  });
});
