/**
 * The whole cluster over models of its surroundings: see test/support/cluster. Anything may come in between anything:
 * messages lost, late, repeated and out of order, any process killed at any step and started again, two supervisors at
 * work, migrations begun, given up and taken on, shards made and closed, a data table that goes away or back.
 */
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { describe, it } from 'vitest';
import { type ClusterStep, clusterSteps, runCluster } from '../support/cluster/cluster-steps.js';
import { loadLibrary } from '../support/cluster/library.js';
import { runs } from '../support/property-runs.js';

const lib = await loadLibrary(fileURLToPath(new URL('../../packages', import.meta.url)));

describe('a cluster', () => {
  it('loses nothing, doubles nothing, tells nothing wrong, and comes to rest', async () => {
    await fc.assert(
      fc.asyncProperty(clusterSteps, fc.nat(), async (steps: readonly ClusterStep[], seed) => {
        await runCluster(lib, steps, seed);
      }),
      { numRuns: Number(process.env.N ?? 20), ...(process.env.SEED ? { seed: Number(process.env.SEED) } : {}) },
    );
  });
});
