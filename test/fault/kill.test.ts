import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import {
  childPid,
  connectionOf,
  createAccounts,
  databaseWithAccounts,
  inRounds,
  isRunning,
  LONG_ROUNDS,
  PREFIXES,
  ROUNDS,
  until,
} from '../support/fault.js';
import { startPostgres, type TestPostgres } from '../support/postgres.js';
import { type StartNode, startNode, type TestNode } from '../support/spill-node.js';

const ROUND_MS = 120_000;
const SHARDS = ['shard-1', 'shard-2', 'shard-3'];

let postgres: TestPostgres;
let node: TestNode | null = null;
let databases = 0;

beforeAll(async () => {
  postgres = await startPostgres();
});

afterAll(async () => {
  await postgres.stop();
});

afterEach(async () => {
  await node?.dispose();
  node = null;
});

/** A node that folds into a database of its own. */
async function onPostgres(options: StartNode = {}): Promise<{ node: TestNode; databaseUrl: string }> {
  databases += 1;
  const databaseUrl = await databaseWithAccounts(postgres, `kill_${databases}`, PREFIXES);
  node = await startNode({ ...options, databaseUrl, args: ['--apply-schema', ...(options.args ?? [])] });
  return { node, databaseUrl };
}

async function onEmbedded(): Promise<{ node: TestNode }> {
  node = await startNode();
  await createAccounts(connectionOf(node), PREFIXES);
  return { node };
}

/** Kills a child by SIGKILL and waits for the next process of its name. */
async function killChild(target: TestNode, name: string): Promise<void> {
  const pid = await childPid(target, name);
  process.kill(pid, 'SIGKILL');
  await until(`a successor of ${name}`, () => (target.childPids()[name] ?? pid) !== pid);
}

async function killNatsServer(target: TestNode): Promise<void> {
  const pid = target.natsServerPid();
  process.kill(pid, 'SIGKILL');
  await until('another nats-server', () => target.natsServerPid() !== pid && target.natsServerPid() !== 0);
}

async function killNode(target: TestNode): Promise<void> {
  const before = [...Object.values(target.childPids()), target.natsServerPid()];
  await target.kill9();
  await target.restart();
  for (const pid of before) expect(isRunning(pid), `process ${pid} of the killed node`).toBe(false);
}

describe('kill -9 under load: nothing acknowledged is lost, nothing counts twice', () => {
  test('a shard', { timeout: ROUNDS * ROUND_MS }, async () => {
    const target = await onPostgres();
    await inRounds({
      what: 'killing shards',
      ...target,
      harm: async ({ load, random }) => {
        for (const name of SHARDS) {
          if (random.chance(0.5)) await load.flows(random.int(1, 300));
          await killChild(target.node, name);
        }
        await load.flows();
      },
    });
  });

  test('the router', { timeout: ROUNDS * ROUND_MS }, async () => {
    const target = await onPostgres();
    await inRounds({
      what: 'killing the router',
      ...target,
      rounds: LONG_ROUNDS,
      harm: async ({ load }) => {
        await killChild(target.node, 'router');
        await load.flows();
      },
    });
  });

  test('nats-server', { timeout: ROUNDS * ROUND_MS }, async () => {
    const target = await onPostgres();
    await inRounds({
      what: 'killing nats-server',
      ...target,
      rounds: LONG_ROUNDS,
      harm: async ({ load }) => {
        await killNatsServer(target.node);
        await load.flows();
      },
    });
  });

  test('the node, started again on the same folder', { timeout: ROUNDS * ROUND_MS }, async () => {
    const target = await onEmbedded();
    await inRounds({
      what: 'killing the node',
      ...target,
      rounds: LONG_ROUNDS,
      harm: async ({ load }) => {
        await killNode(target.node);
        await load.flows();
      },
    });
  });

  test('PostgreSQL', { timeout: ROUNDS * ROUND_MS }, async () => {
    const target = await onPostgres();
    await inRounds({
      what: 'killing PostgreSQL',
      ...target,
      rounds: LONG_ROUNDS,
      harm: async ({ load }) => {
        await postgres.kill9();
        await load.flows();
        await postgres.restart();
        await load.flows();
      },
    });
  });

  test('several of them in one run', { timeout: ROUNDS * ROUND_MS }, async () => {
    const target = await onPostgres();
    await inRounds({
      what: 'killing everything',
      ...target,
      harm: async ({ load, random }) => {
        const harms = [
          () => killChild(target.node, random.pick(SHARDS)),
          () => killChild(target.node, 'router'),
          () => killNatsServer(target.node),
          () => killNode(target.node),
          async () => {
            await postgres.kill9();
            await postgres.restart();
          },
        ];
        while (harms.length > 0) {
          await harms.splice(random.int(0, harms.length - 1), 1)[0]!();
          if (random.chance(0.5)) await load.flows(random.int(1, 300));
        }
        await load.flows();
      },
    });
  });
});
