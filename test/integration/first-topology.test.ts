import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { firstTopology, Names, type NodeEntry, POOLS } from '@spill/core';
import { connectNats, type NatsConnection, readSettings, TopologyStore } from '@spill/node';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { HeartbeatStore, type StoredWitness } from '../../packages/node/dist/nats/heartbeat-store.js';
import { provideNatsServer } from '../../packages/node/dist/nats/provide-nats-server.js';
import { ensureTopology } from '../../packages/node/dist/process/ensure-topology.js';
import { askHighestShard } from '../../packages/node/dist/process/node-database.js';
import { openNodeLog } from '../../packages/node/dist/process/node-log.js';
import { type NodeMemory, recallNode } from '../../packages/node/dist/process/node-memory.js';
import { type PlainNatsServer, startPlainNatsServer } from '../support/plain-nats-server.js';

let folder: string;
let server: PlainNatsServer;
let nc: NatsConnection;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'spill-first-'));
  const { path } = await provideNatsServer();
  const store = JSON.stringify(join(folder, 'jetstream'));
  server = await startPlainNatsServer(path, folder, `jetstream { store_dir: ${store}, sync_interval: always }`);
  nc = await connectNats({ servers: server.url, name: 'test', reconnect: true });
});
afterAll(async () => {
  await nc.close();
  await server.stop();
  rmSync(folder, { recursive: true, force: true });
});

function node(name: string): NodeEntry {
  return { name, labels: {}, since: '2026-01-01T00:00:00.000Z' };
}

async function ensure(
  names: Names,
  flags: Record<string, unknown> = {},
  name = 'node-a',
  highestShard = async (): Promise<number> => 0,
) {
  const dataDir = mkdtempSync(join(folder, 'data-'));
  const { settings } = readSettings({ env: {}, flags: { data_dir: dataDir, node_name: name, ...flags } });
  const memory = await recallNode(settings);
  const log = openNodeLog({ dataDir, json: false, stderr: { write: () => true } });
  const again = (more: Partial<NodeMemory> = {}) =>
    ensureTopology({
      nc,
      names,
      settings,
      memory: { ...memory, ...more },
      replicas: 1,
      node: node(name),
      log,
      highestShard,
    });
  return { settings, again, ...(await again()) };
}

describe('the first topology', () => {
  test('names logs that exist, each begun by its own id', async () => {
    const names = new Names('one');
    const { stored } = await ensure(names, { shard_count: '5', large_threshold: '70' });
    expect(stored.topology.largeThreshold).toBe('70');
    expect(stored.topology.shards.map(({ pool }) => pool)).toEqual(['credit', 'debit', 'large', 'credit', 'debit']);
    const jsm = await nc.jetstreamManager();
    for (const shard of stored.topology.shards) {
      const { config, state } = await jsm.streams.info(names.logStream(shard.id));
      expect(state.last_seq).toBe(1);
      expect(config).toMatchObject({
        storage: 'file',
        retention: 'limits',
        discard: 'new',
        deny_delete: true,
        max_msgs: -1,
        max_bytes: -1,
        max_age: 0,
        allow_direct: false,
      });
      const first = await jsm.streams.getMessage(names.logStream(shard.id), { seq: 1 });
      expect(Buffer.from(first.data.subarray(8, 24)).toString('hex')).toBe(shard.logId);
    }
  });

  test('a start that was cut short between logs and document goes on with the logs that are there', async () => {
    const names = new Names('two');
    const { stored } = await ensure(names);
    const jsm = await nc.jetstreamManager();
    await jsm.streams.delete(`KV_${names.topologyBucket()}`);
    const second = await ensure(names);
    expect(second.stored.topology.shards.map(({ logId }) => logId)).toEqual(
      stored.topology.shards.map(({ logId }) => logId),
    );
    expect((await jsm.streams.info(names.logStream(1))).state.last_seq).toBe(1);
  });

  test('a log that has more than its first record is never taken for a new one', async () => {
    const names = new Names('three');
    await ensure(names);
    const jsm = await nc.jetstreamManager();
    const first = await jsm.streams.getMessage(names.logStream(1), { seq: 1 });
    await nc.jetstream().publish(names.logSubject(1), first.data);
    await jsm.streams.delete(`KV_${names.topologyBucket()}`);
    await expect(ensure(names)).rejects.toThrow(/is there already.*--prefix/);
  });

  test('of two nodes that start at once, both end with the same document, and both are in it', async () => {
    const names = new Names('four');
    const flags = { database_url: 'postgres://spill@127.0.0.1/bank' };
    const [a, b] = await Promise.all([ensure(names, flags, 'node-a'), ensure(names, flags, 'node-b')]);
    const { topology } = await a.store.require();
    expect(a.stored.topology.secret).toBe(b.stored.topology.secret);
    expect(topology.nodes.map(({ name }) => name)).toEqual(['node-a', 'node-b']);
    const owner = topology.shards[0]?.node;
    expect(topology.shards.map((shard) => shard.node)).toEqual([owner, owner, owner]);
  });

  test("an older cluster's shards in the database keep their numbers", async () => {
    const names = new Names('seven');
    const { stored } = await ensure(names, {}, 'node-a', async () => 41);
    expect(stored.topology.shards.map(({ id, pool }) => [id, pool])).toEqual([
      [42, 'credit'],
      [43, 'debit'],
      [44, 'large'],
    ]);
    expect(stored.topology.nextShard).toBe(45);
    for (const pool of POOLS) {
      expect(stored.topology.owners[pool]).toEqual([
        { from: 0, to: stored.topology.slotCount, shard: 42 + POOLS.indexOf(pool) },
      ]);
    }
    const { streams } = await nc.jetstreamManager();
    expect((await streams.info(names.logStream(42))).state.last_seq).toBe(1);
    await expect(streams.info(names.logStream(1))).rejects.toThrow();
  });

  test('a node that finds shards of its own cluster in the database, another was first, makes none', async () => {
    const names = new Names('eight');
    const second = await ensure(names, { database_url: 'postgres://spill@127.0.0.1/bank' }, 'node-b', async () => {
      await ensure(names, { database_url: 'postgres://spill@127.0.0.1/bank' });
      return 3;
    });
    expect(second.stored.topology.shards.map(({ id }) => id)).toEqual([1, 2, 3]);
    await expect((await nc.jetstreamManager()).streams.info(names.logStream(4))).rejects.toThrow();
  });

  test('a database that is down at the first start is not waited for, and what may come of it is said', async () => {
    const { settings } = readSettings({ env: {}, flags: { database_url: 'postgres://spill:secret@127.0.0.1:1/bank' } });
    const written: string[] = [];
    const log = openNodeLog({
      dataDir: folder,
      json: false,
      stderr: {
        write: (line: string) => {
          written.push(line);
          return true;
        },
      },
    });
    expect(await askHighestShard(settings, log)).toBe(0);
    expect(written.join('')).toMatch(
      /first start.*can't be reached.*numbered from 1.*older cluster.*'damaged'.*spill repair/,
    );
    expect(written.join('')).not.toContain('secret');
  });

  test('how accounts are written is fixed', async () => {
    const names = new Names('six');
    await ensure(names);
    await expect(ensure(names, { id_type: 'uuid' })).rejects.toThrow(/^id_type is uuid: .* written as text/);
  });

  test('a node that has been in a cluster makes no other in its place', async () => {
    const names = new Names('five');
    const { again } = await ensure(names);
    await expect(again({ cluster: '0'.repeat(32) })).rejects.toThrow(/belongs to another spill cluster/);
    await (await nc.jetstreamManager()).streams.delete(`KV_${names.topologyBucket()}`);
    await expect(again({ cluster: '0'.repeat(32) })).rejects.toThrow(/topology of this cluster is missing/);
    const store = await TopologyStore.open(nc, names, { create: true });
    await expect(again({ cluster: '0'.repeat(32) })).rejects.toThrow(/topology of this cluster is missing/);
    await store.create(
      firstTopology({
        accountType: 'text',
        node: node('node-a'),
        shardCount: 3,
        largeThreshold: 5n,
        replicas: 1,
        secret: 'f'.repeat(64),
        logIds: ['1', '2', '3'],
      }),
    );
    await expect(again({ cluster: '0'.repeat(32) })).rejects.toThrow(/belongs to another spill cluster/);
  });
});

test('a server without JetStream is refused, with the way out', async () => {
  const { path } = await provideNatsServer();
  const plain = await startPlainNatsServer(path, join(folder, 'plain'), '');
  const other = await connectNats({ servers: plain.url, name: 'test', reconnect: true });
  try {
    const { settings } = readSettings({ env: {}, flags: { data_dir: folder } });
    const log = openNodeLog({ dataDir: folder, json: false, stderr: { write: () => true } });
    const memory = await recallNode(settings);
    const ensured = ensureTopology({
      nc: other,
      names: new Names(),
      settings,
      memory,
      replicas: 1,
      node: node('a'),
      log,
      highestShard: async () => 0,
    });
    await expect(ensured).rejects.toThrow(/JetStream does not answer.*jetstream block/);
  } finally {
    await other.close();
    await plain.stop();
  }
});

describe('the heartbeat bucket', () => {
  const witness = (assignment: number, sequence: number): StoredWitness => ({
    logId: 'a'.repeat(32),
    assignment,
    sequence,
    number: sequence,
    hash: 'b'.repeat(32),
    at: '2026-01-01T00:00:00.000Z',
  });

  test('keeps the newest, and a paused node does not write over its successor', async () => {
    const names = new Names('beat');
    const [paused, successor] = await Promise.all([
      HeartbeatStore.open(nc, names, 1),
      HeartbeatStore.open(nc, names, 1),
    ]);
    expect(await paused.read(7)).toBeNull();
    expect(await paused.write(7, witness(3, 10))).toBe(true);
    expect(await paused.write(7, witness(3, 11))).toBe(true);
    expect(await successor.read(7)).toEqual(witness(3, 11));
    expect(await successor.write(7, witness(4, 12))).toBe(true);
    expect(await paused.write(7, witness(3, 15))).toBe(false);
    expect(await paused.write(7, witness(3, 16))).toBe(false);
    expect(await successor.read(7)).toEqual(witness(4, 12));
    expect(await successor.write(7, witness(4, 13))).toBe(true);
  });
});
