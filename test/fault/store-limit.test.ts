import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect, DiscardPolicy, headers, type JetStreamManager, type NatsConnection, StorageType } from 'nats';
import { afterEach, describe, expect, test } from 'vitest';
import { provideNatsServer } from '../../packages/node/dist/nats/provide-nats-server.js';
import { compareWithModel } from '../support/compare.js';
import { databaseWithAccounts, until } from '../support/fault.js';
import { hotAccount, startLoad } from '../support/load.js';
import type { LoadModel } from '../support/load-model.js';
import { type PlainNatsServer, startPlainNatsServer } from '../support/plain-nats-server.js';
import { startPostgres, type TestPostgres } from '../support/postgres.js';
import { newSeed } from '../support/random.js';
import { startNode, type TestNode } from '../support/spill-node.js';

const STORE = 32 * 1024 * 1024;
const ASKED_MAX = 50;
const HOG_MESSAGE = 512 * 1024;

let postgres: TestPostgres | null = null;
let server: PlainNatsServer | null = null;
let node: TestNode | null = null;
let nc: NatsConnection | null = null;
let folder = '';

afterEach(async () => {
  await nc?.close();
  await node?.dispose();
  await server?.stop();
  await postgres?.stop();
  rmSync(folder, { recursive: true, force: true });
});

describe('a log that refuses', () => {
  test('its store is full: answered unavailable, folded on, and served again once there is space', {
    timeout: 120_000,
  }, async () => {
    folder = mkdtempSync(join(tmpdir(), 'spill-full-'));
    const config = `jetstream { store_dir: "${folder}/jetstream", sync_interval: always, max_file_store: ${STORE} }`;
    server = await startPlainNatsServer((await provideNatsServer()).path, join(folder, 'server'), config);
    postgres = await startPostgres();
    const databaseUrl = await databaseWithAccounts(postgres, 'full', ['', 'again-']);
    node = await startNode({
      databaseUrl,
      args: ['--apply-schema', '--nats', server.url, '--nats-monitor', server.monitorUrl],
    });
    const pids = node.childPids();
    const load = await startLoad({ natsUrl: server.url, seed: newSeed('a full store'), singles: 200 });
    await load.flows();

    nc = await connect({ servers: server.url });
    const manager = await nc.jetstreamManager();
    await fill(nc, manager);
    await until('clients are told', () => (load.model.answers.get('unavailable') ?? 0) > 0);
    await noneIsThere(nc, load.model);
    const balance = await nc.request('spill.balance.get', JSON.stringify({ account: hotAccount(0) }), {
      timeout: 10_000,
    });
    expect(balance.json()).toMatchObject({ account: hotAccount(0), balance: expect.any(String) });
    // Everything acknowledged is folded while nothing can be stored.
    await until('folds go on', async () =>
      (await shards(nc!)).every(({ sequence, watermark }) => watermark !== null && watermark >= sequence - 1),
    );
    expect(node.childPids(), 'a process has ended because the store was full').toEqual(pids);

    await manager.streams.delete('HOG');
    await load.flows();
    expect(node.childPids(), 'a process has ended when there was space again').toEqual(pids);

    // What its memory holds and no log does is nobody's loss but the clients', who were not told that it was stored.
    await fill(nc, manager);
    for (const name of ['shard-1', 'shard-2', 'shard-3']) process.kill(pids[name] as number, 'SIGKILL');
    await manager.streams.delete('HOG');
    await load.flows();
    await load.finish();
    await compareWithModel({
      natsUrl: server.url,
      connection: { connectionString: databaseUrl },
      model: load.model,
    });
  });
});

/** Until no shard's log takes a record: large messages first, then small ones into what is left. */
async function fill(connection: NatsConnection, manager: JetStreamManager): Promise<void> {
  await manager.streams.add({
    name: 'HOG',
    subjects: ['hog'],
    storage: StorageType.File,
    discard: DiscardPolicy.New,
  });
  const js = connection.jetstream();
  for (let size = HOG_MESSAGE; size >= 64; ) {
    try {
      await js.publish('hog', new Uint8Array(size));
    } catch {
      size = Math.floor(size / 2);
    }
  }
  await until('every shard says that its log refuses', async () =>
    (await shards(connection)).every(({ reason }) => /the log refuses records/.test(reason ?? '')),
  );
}

/**
 * What was decided and is in no log is in a memory only, and no read may tell of it. A record that was refused may have
 * found room since, and its transactions are told of then.
 */
async function noneIsThere(connection: NatsConnection, model: LoadModel): Promise<void> {
  const open = [...model.keys.values()].filter(({ variants }) =>
    variants.every(({ acknowledged }) => acknowledged === 0),
  );
  expect(open.length).toBeGreaterThan(0);
  const head = headers();
  head.set('Spill-Deadline-Ms', '5000');
  const found = await Promise.all(
    open.slice(0, ASKED_MAX).map(async ({ account, id }) => {
      const reply = await connection.request('spill.transactions.get', JSON.stringify({ account, id }), {
        timeout: 10_000,
        headers: head,
      });
      return reply.json<{ error?: { code: string }; shard?: number; sequence?: number }>();
    }),
  );
  const stored = new Map((await shards(connection)).map(({ shard, sequence }) => [shard, sequence]));
  const wrong = found.filter(({ error, shard = 0, sequence = 0 }) =>
    error ? error.code !== 'unavailable' : sequence > (stored.get(shard) ?? 0),
  );
  expect(wrong).toEqual([]);
  expect(found.some(({ error }) => error)).toBe(true);
}

async function shards(
  connection: NatsConnection,
): Promise<{ shard: number; reason: string | null; sequence: number; watermark: number | null }[]> {
  const reply = await connection.request('spill.supervisor.performance', '{}', { timeout: 10_000 });
  return reply.json<{ shards: Awaited<ReturnType<typeof shards>> }>().shards;
}
