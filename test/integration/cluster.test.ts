import { Names, POOLS, type Topology } from '@spill/core';
import { connectNats, TopologyStore } from '@spill/node';
import { connect } from 'nats';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { query, until } from '../support/fault.js';
import { startPostgres, type TestPostgres } from '../support/postgres.js';
import { startCluster, type TestCluster } from '../support/spill-cluster.js';

/** Three machines, as far as one can play them: three nodes with embedded servers, each with ports and a folder. */
const SLOW_MS = 300_000;

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
});
