import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { POOLS } from '@spill/core';
import { connect, type NatsConnection } from 'nats';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { freePort } from '../../packages/node/dist/nats/free-port.js';
import { provideNatsServer } from '../../packages/node/dist/nats/provide-nats-server.js';
import { query, until } from '../support/fault.js';
import { askOperator } from '../support/load-client.js';
import { Moves } from '../support/moves.js';
import { type PlainNatsServer, startPlainNatsServer } from '../support/plain-nats-server.js';
import { startPostgres, type TestPostgres } from '../support/postgres.js';
import { startNode, type TestNode } from '../support/spill-node.js';

/** Two machines, and one NATS server that is none of theirs. */
const SLOW_MS = 150_000;
const AMOUNTS = { credit: 5, debit: -3, large: 2_000_000 } as const;

let folder: string;
let server: PlainNatsServer;
let postgres: TestPostgres;
let databaseUrl: string;
let nc: NatsConnection;
const nodes: TestNode[] = [];

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'spill-external-'));
  const { path } = await provideNatsServer();
  const store = JSON.stringify(join(folder, 'jetstream'));
  server = await startPlainNatsServer(
    path,
    folder,
    `max_payload: 8MB\njetstream { store_dir: ${store}, sync_interval: always }`,
  );
  postgres = await startPostgres({ fsync: false });
  databaseUrl = await postgres.createDatabase('external');
  await query(
    { connectionString: databaseUrl },
    'CREATE TABLE accounts (id text PRIMARY KEY, balance bigint NOT NULL)',
  );
  await query({ connectionString: databaseUrl }, `INSERT INTO accounts VALUES ('alice', 0)`);
  for (const name of ['a', 'b']) {
    const args = ['--nats', server.url, '--nats-monitor', server.monitorUrl, '--node-name', name, '--apply-schema'];
    nodes.push(await startNode({ dataDir: join(folder, name), databaseUrl, args }));
  }
  nc = await connect({ servers: server.url });
}, SLOW_MS);

afterAll(async () => {
  await nc?.close();
  for (const node of nodes) await node.dispose();
  await postgres?.stop();
  await server?.stop();
  rmSync(folder, { recursive: true, force: true, maxRetries: 10 });
}, SLOW_MS);

/** One transaction a pool, tried until it is stored. */
async function submitEach(round: number | string, nc: NatsConnection): Promise<void> {
  for (const pool of POOLS) {
    const body = JSON.stringify({ account: 'alice', id: `${round}-${pool}`, amount: AMOUNTS[pool] });
    await until(`a transaction in ${pool}`, async () => {
      const reply = await nc.request('spill.transactions.submit', body, { timeout: 10_000 }).catch(() => null);
      return ['stored', 'duplicate'].includes(reply?.json<{ status?: string }>().status ?? '');
    });
  }
}

test('two nodes on one external server share the shards, and one goes on without the other', {
  timeout: SLOW_MS,
}, async () => {
  const moves = await Moves.on(server.url);
  try {
    const holders = async () => [...new Set((await moves.topology()).shards.map(({ node }) => node))].sort();
    await until('both to have shards', async () => (await holders()).join() === 'a,b', 60_000);
    await submitEach(1, nc);
    await nodes[0]?.kill9();
    await until('the other to have all', async () => (await holders()).join() === 'b', 60_000);
    await submitEach(2, nc);
    await nodes[0]?.restart();
    await until('both to have shards again', async () => (await holders()).join() === 'a,b', 60_000);
    await submitEach(3, nc);
  } finally {
    await moves.close();
  }
  await askOperator(nc, 'spill.supervisor.fold', {});
  const { rows } = await query({ connectionString: databaseUrl }, 'SELECT balance FROM accounts');
  expect(rows).toEqual([{ balance: String(3 * (5 - 3 + 2_000_000)) }]);
  expect(await askOperator(nc, 'spill.supervisor.verify', {})).toMatchObject({ ok: true });
});

test('an existing NATS cluster is used: three copies of each log, and one of its servers may go', {
  timeout: SLOW_MS,
}, async () => {
  const { path } = await provideNatsServer();
  const ports = await Promise.all([1, 2, 3].map(() => freePort()));
  const routes = ports.map((port) => `nats://127.0.0.1:${port}`).join(', ');
  const servers = await Promise.all(
    ports.map((port, i) => {
      const own = join(folder, `server-${i}`);
      const store = JSON.stringify(join(own, 'jetstream'));
      return startPlainNatsServer(
        path,
        own,
        `server_name: s${i}\nmax_payload: 8MB\njetstream { store_dir: ${store}, sync_interval: always }\n` +
          `cluster { name: theirs, listen: "127.0.0.1:${port}", routes: [${routes}] }`,
      );
    }),
  );
  const urls = servers.map(({ url }) => url).join(',');
  const monitors = servers.map(({ monitorUrl }) => monitorUrl).join(',');
  const url = await postgres.createDatabase('clustered');
  await query({ connectionString: url }, 'CREATE TABLE accounts (id text PRIMARY KEY, balance bigint NOT NULL)');
  await query({ connectionString: url }, `INSERT INTO accounts VALUES ('alice', 0)`);
  const node = await startNode({
    databaseUrl: url,
    args: ['--nats', urls, '--nats-monitor', monitors, '--apply-schema'],
  });
  const clustered = await connect({ servers: urls.split(','), maxReconnectAttempts: -1, reconnectTimeWait: 100 });
  try {
    await submitEach('before', clustered);
    const jsm = await clustered.jetstreamManager({ checkAPI: false });
    for (const shard of [1, 2, 3]) {
      const { config, cluster } = await jsm.streams.info(`SPILL_${shard}`);
      expect({ replicas: config.num_replicas, others: cluster?.replicas?.length }).toEqual({ replicas: 3, others: 2 });
    }
    await servers[0]?.stop();
    await submitEach('after', clustered);
    await until('all of it to be in the table', async () => {
      const { rows } = await query({ connectionString: url }, 'SELECT balance::int AS balance FROM accounts');
      return rows[0].balance === 2 * (AMOUNTS.credit + AMOUNTS.debit + AMOUNTS.large);
    });
  } finally {
    await clustered.close();
    await node.dispose();
    for (const one of servers.slice(1)) await one.stop();
  }
});
