import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import {
  childPid,
  databaseWithAccounts,
  inRounds,
  isRunning,
  PREFIXES,
  ROUNDS,
  SOAK,
  until,
} from '../support/fault.js';
import { type OwnShard, startOwnShard } from '../support/own-shard.js';
import { startPostgres, type TestPostgres } from '../support/postgres.js';
import { startNode, type TestNode } from '../support/spill-node.js';

const ROUND_MS = 120_000;
/** A node replaces a shard that is silent for three seconds. */
const STOPPED_MS_MIN = 2_000;
const STOPPED_MS_MAX = 4_500;
const APPEND_TIMEOUT_MS = 5_000;
/** `superseded`, or `waiting` where its append met its successor's record first. */
const STALE_EXITS = [75, 76];

let postgres: TestPostgres;
let node: TestNode | null = null;
let own: OwnShard | null = null;

beforeAll(async () => {
  postgres = await startPostgres();
});

afterAll(async () => {
  await postgres.stop();
});

afterEach(async () => {
  await own?.end();
  own = null;
  await node?.dispose();
  node = null;
});

async function start(name: string): Promise<{ node: TestNode; databaseUrl: string }> {
  const databaseUrl = await databaseWithAccounts(postgres, name, PREFIXES);
  node = await startNode({ databaseUrl, args: ['--apply-schema'] });
  return { node, databaseUrl };
}

describe('what was stopped under load answers nothing wrong when it goes on', () => {
  test('a shard: its successor serves, and it is gone', { timeout: ROUNDS * ROUND_MS }, async () => {
    const target = await start('stop_shard');
    await inRounds({
      what: 'stopping a shard',
      ...target,
      harm: async ({ load, random }) => {
        const name = `shard-${random.int(1, 3)}`;
        const pid = await childPid(target.node, name);
        process.kill(pid, 'SIGSTOP');
        await until('its successor', () => (target.node.childPids()[name] ?? pid) !== pid);
        await load.flows();
        expect(isRunning(pid)).toBe(false);
      },
    });
  });

  test('a shard, around the moment at which it is replaced', { timeout: ROUNDS * ROUND_MS }, async () => {
    const target = await start('stop_briefly');
    await inRounds({
      what: 'stopping a shard for a while',
      ...target,
      harm: async ({ load, random }) => {
        const pid = await childPid(target.node, `shard-${random.int(1, 3)}`);
        process.kill(pid, 'SIGSTOP');
        await delay(random.int(STOPPED_MS_MIN, STOPPED_MS_MAX));
        if (isRunning(pid)) process.kill(pid, 'SIGCONT');
        await load.flows();
      },
    });
  });

  test('nats-server stands still for longer than a record is waited for', { timeout: ROUNDS * ROUND_MS }, async () => {
    const target = await start('stop_nats');
    await inRounds({
      what: 'stopping nats-server',
      ...target,
      rounds: SOAK ? ROUNDS : 1,
      harm: async ({ load, random }) => {
        const pid = target.node.natsServerPid();
        process.kill(pid, 'SIGSTOP');
        // Its writers have given up and are opening when it stores what they had sent.
        await delay(random.int(APPEND_TIMEOUT_MS - 500, APPEND_TIMEOUT_MS + 2_000));
        process.kill(pid, 'SIGCONT');
        await load.flows();
      },
    });
  });

  test('a shard that nobody could end: it ends by itself', { timeout: ROUNDS * ROUND_MS }, async () => {
    const target = await start('stop_orphan');
    await inRounds({
      what: 'stopping a shard that nobody ends',
      ...target,
      harm: async ({ load, random }) => {
        const shard = random.int(1, 3);
        // The node stands still, so that it does not at once replace the process that the test starts.
        const stale = await childPid(target.node, `shard-${shard}`);
        process.kill(target.node.pid, 'SIGSTOP');
        own = await startOwnShard({ natsUrl: target.node.natsUrl, dataDir: target.node.dataDir, ...target, shard });
        await own.serving;
        await load.flows();
        process.kill(own.pid, 'SIGSTOP');
        process.kill(target.node.pid, 'SIGCONT');
        await until('its successor', () => {
          const pid = target.node.childPids()[`shard-${shard}`] ?? stale;
          return pid !== stale && isRunning(pid);
        });
        await load.flows();
        process.kill(own.pid, 'SIGCONT');
        expect(STALE_EXITS).toContain(await own.exit);
        own = null;
        await load.flows();
      },
    });
  });
});
