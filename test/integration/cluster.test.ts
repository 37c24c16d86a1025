import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Names, POOLS, type Topology } from '@spill/core';
import { connectNats, TopologyStore } from '@spill/node';
import { connect } from 'nats';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { freePort } from '../../packages/node/dist/nats/free-port.js';
import { query, until } from '../support/fault.js';
import { askOperator } from '../support/load-client.js';
import { startPostgres, type TestPostgres } from '../support/postgres.js';
import { startCluster, type TestCluster } from '../support/spill-cluster.js';
import { runNode, type TestNode } from '../support/spill-node.js';

/** Three machines, as far as one can play them: three nodes with embedded servers, each with ports and a folder. */
const SLOW_MS = 150_000;

let postgres: TestPostgres;
let cluster: TestCluster;
let databaseUrl: string;

beforeAll(async () => {
  postgres = await startPostgres();
  databaseUrl = await postgres.createDatabase('three_nodes');
  await query(
    { connectionString: databaseUrl },
    'CREATE TABLE accounts (id text PRIMARY KEY, balance bigint NOT NULL)',
  );
  await query({ connectionString: databaseUrl }, `INSERT INTO accounts VALUES ('alice', 0)`);
  cluster = await startCluster({ databaseUrl });
}, SLOW_MS);

afterAll(async () => {
  await cluster?.dispose();
  await postgres?.stop();
}, SLOW_MS);

async function readTopology(): Promise<Topology> {
  const nc = await connectNats({ servers: cluster.urls().split(','), name: 'test', reconnect: true });
  try {
    const store = await TopologyStore.open(nc, new Names(), { create: false });
    return (await store.require()).topology;
  } finally {
    await nc.close();
  }
}

describe('three nodes with embedded servers', () => {
  test('are one cluster, with three copies of every log and bucket', { timeout: SLOW_MS }, async () => {
    const topology = await readTopology();
    expect(topology.nodes.map(({ name }) => name)).toEqual(['n1', 'n2', 'n3']);
    expect(topology.shards.map(({ replicas }) => replicas)).toEqual([3, 3, 3]);
    const nc = await connect({ servers: cluster.urls().split(',') });
    try {
      const jsm = await nc.jetstreamManager();
      const streams = await jsm.streams.list().next();
      expect(streams.map(({ config }) => config.name).sort()).toEqual([
        'KV_SPILL_ACTIONS',
        'KV_SPILL_HEARTBEAT',
        'KV_SPILL_LEASE',
        'KV_SPILL_TOPOLOGY',
        'SPILL_1',
        'SPILL_2',
        'SPILL_3',
      ]);
      for (const { config } of streams) expect([config.name, config.num_replicas]).toEqual([config.name, 3]);
    } finally {
      await nc.close();
    }
  });

  test('take transactions through any of them', { timeout: SLOW_MS }, async () => {
    for (const [i, node] of cluster.nodes.entries()) {
      const nc = await connect({ servers: node.natsUrl });
      try {
        for (const [j, amount] of [5, -3, 2_000_000].entries()) {
          const body = JSON.stringify({ account: 'alice', id: `${i}-${j}`, amount });
          const reply = await nc.request('spill.transactions.submit', body, { timeout: 20_000 });
          expect(reply.json()).toMatchObject({ status: 'stored' });
        }
        const reply = await nc.request('spill.balance.get', JSON.stringify({ account: 'alice' }), { timeout: 20_000 });
        expect(reply.json()).toMatchObject({ balance: String(2_000_002 * (i + 1)) });
      } finally {
        await nc.close();
      }
    }
  });

  test('share the shards among them', { timeout: SLOW_MS }, async () => {
    let topology = await readTopology();
    await until(
      'one shard a node',
      async () => {
        topology = await readTopology();
        return new Set(topology.shards.map(({ node }) => node)).size === 3;
      },
      120_000,
    );
    for (const pool of POOLS) expect(topology.owners[pool].at(-1)?.to).toBe(1024);
  });

  test('refuse a second node of a name, and a folder whose server stood alone', { timeout: SLOW_MS }, async () => {
    const port = await freePort();
    const others = ['--join', `127.0.0.1:${cluster.ports[0]}`];
    const common = ['start', '--database-url', databaseUrl, '--nats-port', '0', '--listen', '127.0.0.1'];
    const folder = mkdtempSync(join(tmpdir(), 'spill-cluster-'));
    try {
      const asCluster = ['--cluster', 'test', '--cluster-port', String(port), ...others];
      const namesake = await runNode([...common, '--data-dir', `${folder}/a`, '--node-name', 'n1', ...asCluster]);
      expect(namesake.stderr).toContain('node_name is "n1": a node of that name runs in this cluster');
      expect(namesake.code).toBe(1);
      const before = { format: 1, nodeName: 'n4', logRetentionBytes: 2 ** 30, cluster: null, serverCluster: null };
      mkdirSync(`${folder}/b`);
      writeFileSync(`${folder}/b/node.json`, JSON.stringify(before));
      const alone = await runNode([...common, '--data-dir', `${folder}/b`, ...asCluster]);
      expect(alone.stderr).toContain('has stood alone, and would lose its logs');
      expect(alone.code).toBe(1);
    } finally {
      rmSync(folder, { recursive: true, force: true, maxRetries: 10 });
    }
  });

  test('drain: a node gives its shards away, may be removed, and its next start takes it back', {
    timeout: SLOW_MS,
  }, async () => {
    const [first] = cluster.nodes as [TestNode];
    const acknowledged: string[] = [];
    let sending = true;
    let pauseMs = 0;
    const nc = await connect({ servers: cluster.urls([1, 2]).split(',') });
    const send = async (pool: string, amount: number): Promise<void> => {
      for (let i = 0; sending; i++) {
        const since = performance.now();
        const body = JSON.stringify({ account: 'alice', id: `drain-${pool}-${i}`, amount });
        for (;;) {
          const reply = await nc.request('spill.transactions.submit', body, { timeout: 20_000 });
          if (['stored', 'duplicate'].includes(reply.json<{ status: string }>().status)) break;
        }
        pauseMs = Math.max(pauseMs, performance.now() - since);
        acknowledged.push(`drain-${pool}-${i}`);
      }
    };
    const senders = [send('credit', 1), send('debit', -1), send('large', 1_000_000)];
    const drained = await runNode(['drain', '--data-dir', first.dataDir]);
    expect(drained).toMatchObject({ code: 0, stderr: '' });
    expect(drained.stdout).toContain('node n1 is drained and may be stopped');
    sending = false;
    await Promise.all(senders);
    process.stderr.write(`  drain: the longest pause of a client was ${Math.round(pauseMs)} ms\n`);
    await nc.close();
    let topology = await readTopology();
    expect(topology.shards.filter(({ node }) => node === 'n1')).toEqual([]);
    expect(topology.nodes.find(({ name }) => name === 'n1')?.draining).toBe(true);
    const again = await runNode(['drain', '--data-dir', first.dataDir]);
    expect(again.code).toBe(0);

    const operator = await connect({ servers: cluster.urls([1, 2]).split(',') });
    const remove = async (): Promise<{ node?: string; error?: { message: string } }> =>
      (await operator.request('spill.supervisor.remove_node', '{"node":"n1"}', { timeout: 5_000 })).json();
    expect((await remove()).error?.message).toContain('it was heard of lately');
    expect(await first.stop()).toBe(0);
    await until('n1 to be removed', async () => (await remove()).node === 'n1', 20_000);
    expect((await readTopology()).nodes.map(({ name }) => name)).toEqual(['n2', 'n3']);
    await first.restart();
    topology = await readTopology();
    expect(topology.nodes.find(({ name }) => name === 'n1')?.draining).toBeUndefined();
    await until(
      'a shard to come back to it',
      async () => (await readTopology()).shards.some(({ node }) => node === 'n1'),
      120_000,
    );
    await askOperator(operator, 'spill.supervisor.fold', {});
    await operator.close();
    const rows = await query({ connectionString: databaseUrl }, `SELECT id FROM spill.ledger WHERE id LIKE 'drain-%'`);
    expect(rows.rows.map(({ id }) => id).sort()).toEqual(acknowledged.sort());
  });
});
