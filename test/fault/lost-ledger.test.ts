/**
 * A database that has lost spill's ledger beside the balances, or holds an older cluster's: nothing that was folded is
 * folded a second time.
 */
import { PostgresDataTable, repairOverNats, runDoctor, type VerifyReport } from '@spill/node';
import { connect } from 'nats';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { query, until } from '../support/fault.js';
import { PLAIN_MAPPING } from '../support/plain-mapping.js';
import { startPostgres, type TestPostgres } from '../support/postgres.js';
import { startNode, type TestNode } from '../support/spill-node.js';

const TEST_MS = 120_000;
/** One account a pool, so one a shard. */
const AMOUNTS = { c: 5, d: -3, l: 2_000_000 };

interface Shown {
  readonly id: number;
  readonly state: string;
  readonly reason?: string;
}

let postgres: TestPostgres;
let databases = 0;
let databaseUrl: string;
let table: PostgresDataTable;
const nodes: TestNode[] = [];

beforeAll(async () => {
  postgres = await startPostgres({ fsync: false });
});

afterAll(() => postgres.stop());

afterEach(async (context) => {
  if (context.task.result?.state === 'fail') for (const node of nodes) console.error(node.stderr());
  for (const node of nodes.splice(0)) await node.dispose();
  await table.close();
});

async function newDatabase(): Promise<void> {
  databaseUrl = await postgres.createDatabase(`lost_${++databases}`);
  await sql('CREATE TABLE accounts (id text PRIMARY KEY, balance bigint NOT NULL)');
  await sql("INSERT INTO accounts VALUES ('c', 0), ('d', 0), ('l', 0)");
  table = new PostgresDataTable({ connection: { connectionString: databaseUrl }, mapping: PLAIN_MAPPING });
}

async function start(): Promise<TestNode> {
  const node = await startNode({ databaseUrl, shards: 3, args: ['--apply-schema'] });
  nodes.push(node);
  return node;
}

async function sql(text: string): Promise<Record<string, unknown>[]> {
  return (await query({ connectionString: databaseUrl }, text)).rows;
}

async function ask<T>(node: TestNode, subject: string, body: unknown): Promise<T> {
  const nc = await connect({ servers: node.natsUrl });
  try {
    return (await nc.request(subject, JSON.stringify(body), { timeout: 30_000 })).json<T>();
  } finally {
    await nc.close();
  }
}

const shardsOf = async (node: TestNode): Promise<Shown[]> =>
  (await ask<{ shards: Shown[] }>(node, 'spill.supervisor.topology', {})).shards;

/** In every pool; folded when this resolves. */
async function submit(node: TestNode, ids: readonly string[], amounts: Record<string, number> = AMOUNTS) {
  const rows = ids.flatMap((id) => Object.entries(amounts).map(([account, amount]) => ({ account, id, amount })));
  const { results } = await ask<{ results: { status: string }[] }>(node, 'spill.transactions.submit', rows);
  for (const { status } of results) expect(status).toBe('stored');
  expect(await ask(node, 'spill.supervisor.fold', {})).not.toHaveProperty('error');
}

async function balances(): Promise<Record<string, number>> {
  const rows = await sql('SELECT id, balance::int AS balance FROM accounts ORDER BY id');
  return Object.fromEntries(rows.map(({ id, balance }) => [id, balance]));
}

const times = (count: number) => ({ c: count * AMOUNTS.c, d: count * AMOUNTS.d, l: count * AMOUNTS.l });

async function untilAll(node: TestNode, state: string): Promise<Shown[]> {
  let shards: Shown[] = [];
  await until(`every shard is ${state}`, async () => {
    shards = await shardsOf(node);
    return shards.every((shard) => shard.state === state);
  });
  return shards;
}

function repair(node: TestNode, shard: number, accept: { loss: boolean; newLedger: boolean }) {
  return repairOverNats({
    servers: node.natsUrl,
    prefix: 'spill',
    table,
    shard,
    acceptLoss: accept.loss,
    acceptNewLedger: accept.newLedger,
    note: { who: 'the test', why: 'it made the ledger anew' },
    dataDir: node.dataDir,
  });
}

/** Nothing was folded, and everybody who is asked says what would happen. */
async function refuses(node: TestNode, held: Record<string, number>): Promise<void> {
  await until('nothing is folded, and every shard is damaged', async () => {
    const shards = await shardsOf(node);
    expect(await balances()).toEqual(held);
    return shards.every(({ state }) => state === 'damaged');
  });
  for (const { reason } of await shardsOf(node)) {
    expect(reason).toMatch(/ledger.* is another than .*would count twice.*from one dump.*--accept-new-ledger/);
  }
  const findings = await runDoctor({
    servers: node.natsUrl,
    prefix: 'spill',
    monitorUrl: null,
    dataDir: node.dataDir,
    database: { kind: 'postgres', table },
    idsMax: 1,
    pendingBytesMax: 1,
    maxClockSkewMs: 60_000,
  });
  for (const shard of [1, 2, 3]) {
    expect(
      findings.find(({ check, severity }) => check === `shard ${shard}` && severity === 'error')?.message,
    ).toContain('would count twice');
    expect((await repair(node, shard, { loss: false, newLedger: false })).new_ledger).toContain('would count twice');
    await expect(repair(node, shard, { loss: true, newLedger: false })).rejects.toThrow(/would count twice/);
  }
  expect(await sql('SELECT * FROM spill.watermark')).toEqual([]);
  expect(await balances()).toEqual(held);
}

async function serves(node: TestNode): Promise<void> {
  await untilAll(node, 'open');
  await until(
    'all is folded',
    async () => (await ask<{ folded?: unknown }>(node, 'spill.supervisor.fold', {})).folded !== undefined,
  );
  expect(await ask<VerifyReport>(node, 'spill.supervisor.verify', {})).toMatchObject({ ok: true, drift: 0 });
}

describe("spill's schema is lost, and the table beside it is kept", () => {
  test('while the node is down; the table is then put back to before any fold', { timeout: TEST_MS }, async () => {
    await newDatabase();
    const node = await start();
    await submit(node, ['1', '2', '3']);
    await node.stop();
    await sql('DROP SCHEMA spill CASCADE');
    await node.restart();
    await refuses(node, times(3));

    await sql('UPDATE accounts SET balance = 0');
    for (const shard of [1, 2, 3]) await repair(node, shard, { loss: true, newLedger: true });
    await serves(node);
    expect(await balances()).toEqual(times(3));
    await submit(node, ['4']);
    expect(await balances()).toEqual(times(4));
  });

  test('while it runs; schema and table are then put back together', { timeout: TEST_MS }, async () => {
    await newDatabase();
    const node = await start();
    await submit(node, ['1', '2', '3']);
    await sql('ALTER SCHEMA spill RENAME TO kept');
    await table.applySchema();
    await refuses(node, times(3));

    await sql('DROP SCHEMA spill CASCADE; ALTER SCHEMA kept RENAME TO spill');
    for (const shard of [1, 2, 3]) await repair(node, shard, { loss: true, newLedger: false });
    await serves(node);
    expect(await balances()).toEqual(times(3));
  });
});

test('a dump from before the first fold is folded into again', { timeout: TEST_MS }, async () => {
  await newDatabase();
  await table.applySchema();
  await table.close();
  const name = new URL(databaseUrl).pathname.slice(1);
  const admin = (text: string) => query({ connectionString: postgres.url }, text);
  await admin(`CREATE DATABASE ${name}_dump TEMPLATE ${name}`);
  const node = await start();
  await submit(node, ['1', '2', '3']);
  await node.stop();
  await admin(`DROP DATABASE ${name}`);
  await admin(`CREATE DATABASE ${name} TEMPLATE ${name}_dump`);
  await node.restart();
  await serves(node);
  expect(await balances()).toEqual(times(3));
});

test('a new cluster on the database of an older one takes other numbers, and the ledger is the old one', {
  timeout: TEST_MS,
}, async () => {
  await newDatabase();
  const older = await start();
  await submit(older, ['1', '2']);
  await older.stop();
  const newer = await start();
  expect((await shardsOf(newer)).map(({ id }) => id)).toEqual([4, 5, 6]);
  await submit(newer, ['2', '3']);
  expect(await balances()).toEqual(times(3));
  await submit(newer, ['1'], { c: 6 });
  expect(await balances()).toEqual(times(3));
  expect(await table.listConflicts({ limit: 10 })).toMatchObject([
    { account: 'c', id: '1', amount: 6n, ledgerAmount: 5n },
  ]);
  for (const { state } of await shardsOf(newer)) expect(state).toBe('open');
  expect(await ask<VerifyReport>(newer, 'spill.supervisor.verify', {})).toMatchObject({ ok: true, conflicts: 1 });
});
