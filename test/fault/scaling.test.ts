import { SLOT_COUNT, type Topology } from '@spill/core';
import type { VerifyReport } from '@spill/node';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { compareWithModel } from '../support/compare.js';
import { databaseWithAccounts, LONG_ROUNDS, prefixOf, until } from '../support/fault.js';
import { LARGE_THRESHOLD, type LoadOptions, startLoad } from '../support/load.js';
import { askOperator, LoadClient } from '../support/load-client.js';
import { LoadModel } from '../support/load-model.js';
import { Moves } from '../support/moves.js';
import { startPostgres, type TestPostgres } from '../support/postgres.js';
import { newSeed } from '../support/random.js';
import { startNode, type TestNode } from '../support/spill-node.js';

const QUIET = prefixOf(1);
const BUSY = prefixOf(2);

/**
 * What a few clients that rest make of a core lies well below both; what hundreds make of it lies above, also where
 * many other processes want the cores.
 */
const SETTINGS = {
  SPILL_SHARD_GROWTH_THRESHOLD: '0.07',
  SPILL_SHARD_SHRINK_THRESHOLD: '0.04',
  SPILL_COOL_DOWN: '1 s',
  SPILL_MAX_PAUSE_MS: '2000',
};

const GROWS_MS = 120_000;
const SHRINKS_MS = 120_000;

interface RecordedAction {
  readonly by: string;
  readonly action: { readonly action: string };
  readonly figures: readonly unknown[];
}

let postgres: TestPostgres;
let node: TestNode | null = null;
let moves: Moves | null = null;
let operator: LoadClient | null = null;

beforeAll(async () => {
  postgres = await startPostgres({ fsync: false });
});

afterEach(async (context) => {
  if (context.task.result?.state === 'fail') process.stderr.write(`${node?.stderr()}\n`);
  await operator?.close();
  await moves?.close();
  await node?.dispose();
});

afterAll(() => postgres.stop());

describe('scaling by measurement', () => {
  test.each(Array.from({ length: LONG_ROUNDS }, (_, i) => i + 1))(
    'load makes a shard without anyone asking, and its end takes it away: round %i',
    {
      timeout: 300_000,
    },
    async (round) => {
      const databaseUrl = await databaseWithAccounts(postgres, `scaling_${round}`, [QUIET, BUSY]);
      node = await startNode({ databaseUrl, args: ['--apply-schema'], env: SETTINGS });
      const cluster = await Moves.on(node.natsUrl);
      moves = cluster;
      operator = await LoadClient.open(node.natsUrl);
      const { natsUrl } = node;
      const model = new LoadModel(LARGE_THRESHOLD);
      const load = (what: string, options: Omit<LoadOptions, 'natsUrl' | 'seed'>) =>
        startLoad({ natsUrl, model, seed: newSeed(`scaling, ${what} load, round ${round}`), ...options });

      const quiet = await load('quiet', { prefix: QUIET, singles: 4, batches: 0, restMs: 200 });
      await quiet.flows(10);
      const busy = await load('busy', { prefix: BUSY, singles: 300, batches: 20, probes: 1, pools: ['credit'] });
      await until(
        'a second shard of credit to own slots',
        async () => ownersOf(await cluster.topology()).size > 1,
        GROWS_MS,
      );
      await busy.flows(1_000);
      await busy.finish();
      await until(
        'one shard of credit to own all slots',
        async () => {
          const topology = await cluster.topology();
          return (
            ownersOf(topology).size === 1 &&
            topology.shards.every(({ state }) => state === 'open' || state === 'retired')
          );
        },
        SHRINKS_MS,
      );
      await quiet.flows(10);
      await quiet.finish();

      const { shards, owners } = await cluster.settled();
      expect(shards.slice(0, 3).map(({ pool }) => pool)).toEqual(['credit', 'debit', 'large']);
      const made = shards.slice(3);
      expect(made.length).toBeGreaterThan(0);
      expect(made.every(({ pool }) => pool === 'credit')).toBe(true);
      const open = shards.filter(({ state }) => state === 'open');
      expect(open.map(({ pool }) => pool).sort()).toEqual(['credit', 'debit', 'large']);
      const [kept] = open.filter(({ pool }) => pool === 'credit');
      expect(owners.credit).toEqual([{ from: 0, to: SLOT_COUNT, shard: kept?.id }]);

      const { nc } = operator;
      const { actions } = await askOperator<{ actions: RecordedAction[] }>(nc, 'spill.supervisor.actions', {});
      for (const action of ['create_shard', 'move_slots', 'delete_shard']) {
        const taken = actions.find((recorded) => recorded.action.action === action);
        expect(taken, action).toMatchObject({ by: expect.stringMatching(/^the supervisor on /) });
        expect(taken?.figures.length, action).toBeGreaterThan(0);
      }

      const connection = { connectionString: databaseUrl };
      const compared = await compareWithModel({ natsUrl, model, connection });
      const report = await askOperator<VerifyReport>(nc, 'spill.supervisor.verify', {});
      expect(report, JSON.stringify(report.examples)).toMatchObject({ ok: true, lost: 0, duplicated: 0, pending: 0 });
      const balances = quiet.balancesRead + busy.balancesRead;
      process.stderr.write(`  ${made.length} made, ${balances} balances, ${JSON.stringify(compared)}\n`);
    },
  );
});

function ownersOf({ owners }: Topology): Set<number> {
  return new Set(owners.credit.map(({ shard }) => shard));
}
