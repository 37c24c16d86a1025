import { appendFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { Names } from '@spill/core';
import { connect } from 'nats';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { databaseWithAccounts, inRounds, prefixOf, query, SOAK, until } from '../support/fault.js';
import { Moves } from '../support/moves.js';
import { makeNetwork, mayMakeNetworks } from '../support/network.js';
import { startPostgres, type TestPostgres } from '../support/postgres.js';
import { startCluster, type TestCluster, type TestNetwork } from '../support/spill-cluster.js';
import type { TestNode } from '../support/spill-node.js';

/**
 * Three nodes with embedded servers and three copies of each log. One node at a time is killed with its server, stopped
 * beyond its lease, or cut off, and comes back. The clients are connected to the other two.
 */
const ROUNDS = SOAK ? 20 : 1;
const TEST_MS = 180_000 + ROUNDS * 240_000;
/** What is promised, in a soak; in `npm test` the machine may run other suites too. */
const RESUME_MS_MAX = SOAK ? 20_000 : 60_000;
const RESUME_MEDIAN_MS_MAX = SOAK ? 12_000 : 60_000;
/** Longer than the lease and a node's silence together. */
const STOPPED_MS = 15_000;
const PREFIXES = Array.from({ length: ROUNDS }, (_, i) => prefixOf(i + 1));

let postgres: TestPostgres;
let cluster: TestCluster | null = null;
let network: TestNetwork | null = null;
let databases = 0;

beforeAll(async () => {
  postgres = await startPostgres({ settings: { listen_addresses: '*' } });
  // The nodes of a network of their own come from other addresses.
  appendFileSync(join(postgres.dataDir, 'pg_hba.conf'), 'host all all 10.0.0.0/8 trust\n');
  await query({ connectionString: postgres.url }, 'SELECT pg_reload_conf()');
}, 120_000);

afterAll(async () => {
  await postgres.stop();
});

afterEach(async () => {
  await cluster?.dispose();
  network?.dispose();
  cluster = null;
  network = null;
}, 120_000);

async function threeNodes(): Promise<TestCluster> {
  databases += 1;
  const url = await databaseWithAccounts(postgres, `cluster_${databases}`, PREFIXES);
  const databaseUrl = network ? url.replace('127.0.0.1', network.gateway) : url;
  cluster = await startCluster({ databaseUrl, ...(network && { network }), env: { SPILL_COOL_DOWN: '1 h' } });
  await sharedOut(cluster);
  return cluster;
}

async function onTopology<T>({ urls }: TestCluster, use: (moves: Moves) => Promise<T>): Promise<T> {
  const moves = await Moves.on(urls());
  try {
    return await use(moves);
  } finally {
    await moves.close();
  }
}

/** One shard a node, so that each victim has one. */
async function sharedOut(started: TestCluster): Promise<void> {
  await onTopology(started, (moves) =>
    until(
      'one shard a node',
      async () => new Set((await moves.topology()).shards.map(({ node }) => node)).size === started.nodes.length,
      120_000,
    ),
  );
}

/** Returns what undoes it. */
type Harm = (node: TestNode, place: number) => Promise<() => Promise<void>>;

async function harmOneByOne(what: string, started: TestCluster, harm: Harm): Promise<void> {
  let victim = 0;
  const resumed: number[] = [];
  const others = (): number[] => [0, 1, 2].filter((place) => place !== victim);
  const survivor: TestNode = {
    ...(started.nodes[1] as TestNode),
    get natsUrl() {
      return started.urls(others());
    },
  };
  await inRounds({
    what,
    node: survivor,
    databaseUrl: started.databaseUrl,
    rounds: ROUNDS,
    foldMs: 120_000,
    harm: async ({ load }) => {
      const undo = await harm(started.nodes[victim] as TestNode, victim);
      const since = performance.now();
      await load.flows(20, 120_000);
      resumed.push(Math.round(performance.now() - since));
      process.stderr.write(`  ${what}: writing resumed after ${resumed.at(-1)} ms\n`);
      await load.flows();
      await undo();
      await load.flows(300, 120_000);
      await sharedOut(started);
      await load.flows(300, 120_000);
      victim = (victim + 1) % started.nodes.length;
    },
  });
  expect(await activeSupervisors(started)).toHaveLength(1);
  const sorted = [...resumed].sort((a, b) => a - b);
  process.stderr.write(`  ${what}: writing resumed after ${sorted.join(', ')} ms\n`);
  expect(sorted.at(-1)).toBeLessThan(RESUME_MS_MAX);
  expect(sorted[Math.floor(sorted.length / 2)]).toBeLessThan(RESUME_MEDIAN_MS_MAX);
}

async function activeSupervisors(started: TestCluster): Promise<string[]> {
  const nc = await connect({ servers: started.urls().split(',') });
  try {
    const names = new Names();
    let active: string[] = [];
    await until('every node to answer, and one of them to be active', async () => {
      const answers = await Promise.all(
        started.names.map((name) => nc.request(names.node(name, 'alive'), '', { timeout: 2_000 }).catch(() => null)),
      );
      active = answers.flatMap((answer) => {
        const { node, active } = answer?.json<{ node: string; active: boolean }>() ?? { node: '', active: false };
        return active ? [node] : [];
      });
      return answers.every((answer) => answer !== null) && active.length > 0;
    });
    return active;
  } finally {
    await nc.close();
  }
}

/** A node's own process, its children, and its nats-server. */
function pidsOf(node: TestNode): number[] {
  return [node.pid, ...Object.values(node.childPids()), node.natsServerPid()].filter((pid) => pid > 0);
}

describe('three nodes, three copies of each log', () => {
  test('kill -9 of a node with its server and all its processes', { timeout: TEST_MS }, async () => {
    await harmOneByOne('killing a node and its server', await threeNodes(), async (node) => {
      for (const pid of pidsOf(node)) process.kill(pid, 'SIGKILL');
      return () => node.restart();
    });
  });

  test.skipIf(!SOAK)(
    'a whole node stands still beyond its lease, and goes on (npm run soak)',
    { timeout: TEST_MS },
    async () => {
      await harmOneByOne('stopping a node', await threeNodes(), async (node) => {
        const pids = pidsOf(node);
        for (const pid of pids) process.kill(pid, 'SIGSTOP');
        const stoppedAt = performance.now();
        return async () => {
          await delay(Math.max(0, STOPPED_MS - (performance.now() - stoppedAt)));
          for (const pid of pids) process.kill(pid, 'SIGCONT');
        };
      });
    },
  );

  test.skipIf(!SOAK || !mayMakeNetworks())(
    'a node is cut off, and healed (npm run soak, where networks can be made)',
    { timeout: TEST_MS },
    async () => {
      network = makeNetwork(3);
      const { cutOff, heal } = network;
      await harmOneByOne('cutting a node off', await threeNodes(), async (_, place) => {
        cutOff(place);
        return async () => heal(place);
      });
    },
  );
});
