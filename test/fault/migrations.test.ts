import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { childPid, databaseWithAccounts, inRounds, PREFIXES, SOAK, until } from '../support/fault.js';
import { Moves } from '../support/moves.js';
import { startPostgres, type TestPostgres } from '../support/postgres.js';
import { startNode, type TestNode } from '../support/spill-node.js';

/**
 * Slots move while some thousand clients send: nothing acknowledged is lost, nothing counts twice, whatever is killed at
 * whichever step. Each test ends with the comparison of load.ts's model with the database and the pending sums.
 */
const BACK_TO_BACK = SOAK ? 100 : 4;
const STEPS = ['copy', 'seal', 'finish', 'commit', 'settle'] as const;
const VICTIMS = ['source', 'target', 'node', 'router', 'nats-server'] as const;
/** In `npm test` a sample of two; all twenty-five in `npm run soak`. */
const CELLS = STEPS.flatMap((step) => VICTIMS.map((victim) => ({ step, victim }))).filter(
  ({ step, victim }) => SOAK || (step === 'seal' && victim === 'target') || (step === 'finish' && victim === 'node'),
);

let postgres: TestPostgres;
let node: TestNode | null = null;
let moves: Moves | null = null;
let databases = 0;

beforeAll(async () => {
  postgres = await startPostgres();
});

afterAll(async () => {
  await postgres.stop();
});

afterEach(async () => {
  await moves?.close();
  await node?.dispose();
  node = null;
  moves = null;
});

async function cluster(): Promise<{ node: TestNode; databaseUrl: string; moves: Moves; second: number }> {
  databases += 1;
  const databaseUrl = await databaseWithAccounts(postgres, `moves_${databases}`, PREFIXES);
  // A pause may take long on a machine that runs other suites too; what it takes is measured in bench/.
  node = await startNode({
    databaseUrl,
    args: ['--apply-schema'],
    env: { SPILL_MAX_PAUSE_MS: '2000', SPILL_COOL_DOWN: '1 h' },
  });
  moves = await Moves.on(node.natsUrl);
  const second = await moves.createShard('credit');
  return { node, databaseUrl, moves, second };
}

describe('slots move under load', () => {
  test(`${BACK_TO_BACK} migrations back to back`, { timeout: 60_000 + BACK_TO_BACK * 30_000 }, async () => {
    const target = await cluster();
    let committed = 0;
    await inRounds({
      what: 'migrations back to back',
      ...target,
      rounds: 1,
      // As hard as it can for a quarter of an hour, the load's model of every transaction would fill the memory.
      ...(SOAK && { load: { restMs: 200 } }),
      harm: async ({ load }) => {
        for (let i = 0; i < BACK_TO_BACK; i++) {
          const to = i % 2 === 0 ? target.second : 1;
          const id = await target.moves.begin('credit', to);
          if (await target.moves.ended(id, 'credit', to)) committed += 1;
          await load.flows(50);
        }
      },
    });
    await target.moves.settled();
    expect(committed).toBeGreaterThanOrEqual(Math.ceil(BACK_TO_BACK / 2));
  });

  test('a shard is made, takes all, and is deleted', { timeout: 180_000 }, async () => {
    const target = await cluster();
    await inRounds({
      what: 'a shard deleted under load',
      ...target,
      rounds: 1,
      harm: async ({ load }) => {
        const id = await target.moves.begin('credit', target.second);
        await target.moves.ended(id, 'credit', target.second);
        await load.flows();
        expect(await target.moves.deleteShard(target.second)).toBe('closing');
        await until(
          'the shard to be retired',
          async () => {
            const entry = (await target.moves.topology()).shards.find((shard) => shard.id === target.second);
            return entry?.state === 'retired';
          },
          90_000,
        );
        await load.flows();
      },
    });
    const { owners } = await target.moves.settled();
    expect(owners.credit).toEqual([{ from: 0, to: 1024, shard: 1 }]);
  });
});

describe('killed at a step of a migration', () => {
  test.each(CELLS)('$step × $victim', { timeout: 240_000 }, async ({ step, victim }) => {
    const target = await cluster();
    await inRounds({
      what: `${victim} killed at ${step}`,
      ...target,
      rounds: 1,
      harm: async ({ load }) => {
        const id = await target.moves.begin('credit', target.second);
        await until(`step ${step}`, () =>
          target.node.stderr().includes(`migration ${id} (credit, shard 1 to ${target.second}): ${step}`),
        );
        await kill(target.node, victim, target.second);
        await load.flows();
        await target.moves.ended(id, 'credit', target.second, 90_000);
        await load.flows();
      },
    });
    await target.moves.settled();
  });
});

async function kill(target: TestNode, victim: (typeof VICTIMS)[number], second: number): Promise<void> {
  if (victim === 'node') {
    await target.kill9();
    await target.restart();
    return;
  }
  const names = { source: 'shard-1', target: `shard-${second}`, router: 'router' } as const;
  const pid = victim === 'nats-server' ? target.natsServerPid() : await childPid(target, names[victim]);
  process.kill(pid, 'SIGKILL');
}
