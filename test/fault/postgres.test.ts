import { setTimeout as delay } from 'node:timers/promises';
import { connect } from 'nats';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { compareWithModel } from '../support/compare.js';
import { type DatabaseProxy, startDatabaseProxy } from '../support/database-proxy.js';
import { databaseWithAccounts, query, SOAK, until } from '../support/fault.js';
import { type Load, startLoad } from '../support/load.js';
import { type LoadAnswer, LoadClient } from '../support/load-client.js';
import { startPostgres, type TestPostgres } from '../support/postgres.js';
import { newSeed } from '../support/random.js';
import { type StartNode, startNode, type TestNode } from '../support/spill-node.js';

const TEST_MS = SOAK ? 600_000 : 120_000;
const LOCKED_MS = 3_000;

let postgres: TestPostgres;
let databaseUrl: string;
let databases = 0;
const nodes: TestNode[] = [];
const sessions: pg.Client[] = [];
const proxies: DatabaseProxy[] = [];

beforeAll(async () => {
  postgres = await startPostgres();
});

afterAll(async () => {
  await postgres.stop();
});

afterEach(async (context) => {
  // What the node has said, where it may tell why.
  if (context.task.result?.state === 'fail') for (const node of nodes) console.error(node.stderr());
  for (const client of sessions.splice(0)) await client.end();
  for (const node of nodes.splice(0)) await node.dispose();
  for (const proxy of proxies.splice(0)) await proxy.stop();
});

async function start(options: StartNode = {}): Promise<TestNode> {
  const node = await startNode({ databaseUrl, ...options, args: ['--apply-schema', ...(options.args ?? [])] });
  nodes.push(node);
  return node;
}

async function startProxied(): Promise<{ node: TestNode; proxy: DatabaseProxy }> {
  const proxy = await startDatabaseProxy({ host: '127.0.0.1', port: postgres.port });
  proxies.push(proxy);
  const url = new URL(databaseUrl);
  url.port = String(proxy.port);
  return { node: await start({ databaseUrl: url.href }), proxy };
}

async function session(): Promise<pg.Client> {
  const client = new pg.Client(databaseUrl);
  await client.connect();
  sessions.push(client);
  return client;
}

async function newDatabase(): Promise<void> {
  databases += 1;
  databaseUrl = await databaseWithAccounts(postgres, `fault_${databases}`, ['']);
}

function loadOn(node: TestNode, what: string): Promise<Load> {
  return startLoad({ natsUrl: node.natsUrl, seed: newSeed(what), singles: 200, batches: 10, accounts: 500 });
}

const sql = (text: string, values?: unknown[]): Promise<pg.QueryResult> =>
  query({ connectionString: databaseUrl }, text, values);

async function count(from: string, values?: unknown[]): Promise<number> {
  return (await sql(`SELECT count(*)::int AS count FROM ${from}`, values)).rows[0].count;
}

const rightIn = (node: TestNode, load: Load, more: object = {}): Promise<unknown> =>
  compareWithModel({
    natsUrl: node.natsUrl,
    connection: { connectionString: databaseUrl },
    model: load.model,
    ...more,
  });

describe('what happens in PostgreSQL', () => {
  test('a hot row that another session holds locked for seconds', { timeout: TEST_MS }, async () => {
    await newDatabase();
    const node = await start();
    const load = await loadOn(node, 'a locked row');
    const holder = await session();
    await holder.query(`BEGIN; UPDATE accounts SET balance = balance WHERE id = 'hot-0'`);
    // A first fold may have come before the lock.
    const applied = await count(`spill.ledger WHERE account = 'hot-0' AND state = 'applied'`);
    await until('its transactions are set aside', async () => {
      return (
        (await count(`spill.ledger WHERE account = 'hot-0' AND state = 'set_aside' AND reason = 'row_locked'`)) > 0
      );
    });
    const others = await count(`spill.ledger WHERE account <> 'hot-0' AND state = 'applied'`);
    await delay(LOCKED_MS);
    await load.flows();
    await until('the other accounts go on', async () => {
      return (await count(`spill.ledger WHERE account <> 'hot-0' AND state = 'applied'`)) > others;
    });
    expect(await count(`spill.ledger WHERE account <> 'hot-0' AND state = 'set_aside'`)).toBe(0);
    await load.finish();
    await rightIn(node, load, { mayStaySetAside: true });
    expect(await count(`spill.ledger WHERE account = 'hot-0' AND state = 'applied'`)).toBe(applied);
    await holder.query('COMMIT');
    // On a busy machine the lock was held for a minute, and so long is the next wait then: this lock is over now.
    await sql(`UPDATE spill.ledger SET next_attempt_at = now() WHERE state = 'set_aside'`);
    await rightIn(node, load);
  });

  test('statements that fail in the middle of a fold', { timeout: TEST_MS }, async () => {
    await newDatabase();
    const node = await start();
    // The very last statement of a fold: everything before it has been done by then.
    await sql(`
      CREATE TABLE public.failing (code text);
      CREATE FUNCTION public.fail() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE failing_code text := (SELECT code FROM public.failing LIMIT 1);
        BEGIN
          IF failing_code IS NOT NULL THEN RAISE EXCEPTION 'not now' USING ERRCODE = failing_code; END IF;
          RETURN NEW;
        END $$;
      CREATE TRIGGER fail BEFORE UPDATE ON spill.watermark FOR EACH ROW EXECUTE FUNCTION public.fail()`);
    const load = await loadOn(node, 'failing statements');
    const pids = node.childPids();
    for (const code of ['40001', '40P01', '57014', '53200', 'XX000', 'P0001']) {
      await sql('INSERT INTO public.failing VALUES ($1)', [code]);
      await transactionsBeforeNowAreOver();
      const folded = await count('spill.ledger');
      await load.flows(100);
      await delay(300);
      expect(await count('spill.ledger'), `folded although ${code} was raised`).toBeLessThanOrEqual(folded);
      await sql('DELETE FROM public.failing');
      await until(`folds go on after ${code}`, async () => (await count('spill.ledger')) > folded);
    }
    await load.finish();
    await rightIn(node, load);
    expect(node.childPids(), 'a shard has ended because of an error of the database').toEqual(pids);
  });

  test('sessions that an administrator ends, statements that one cancels', { timeout: TEST_MS }, async () => {
    await newDatabase();
    const node = await start();
    const load = await loadOn(node, 'ended sessions');
    const pids = node.childPids();
    const administrator = await session();
    for (let i = 0; i < (SOAK ? 200 : 30); i++) {
      const what = i % 2 === 0 ? 'pg_terminate_backend' : 'pg_cancel_backend';
      await administrator.query(
        `SELECT ${what}(pid) FROM pg_stat_activity
         WHERE datname = current_database() AND application_name = 'spill' AND (state <> 'idle' OR random() < 0.1)`,
      );
      await delay(50);
    }
    await load.flows();
    await load.finish();
    await rightIn(node, load);
    expect(node.childPids(), 'a shard has ended because of an error of the database').toEqual(pids);
  });

  test('connections cut between COMMIT and its answer, or before it', { timeout: TEST_MS }, async () => {
    await newDatabase();
    const { node, proxy } = await startProxied();
    const load = await loadOn(node, 'cut connections');
    for (let i = 0; i < (SOAK ? 100 : 15); i++) {
      proxy.cutAt('COMMIT', i % 3 === 2 ? 'request' : 'answer');
      await delay(150);
    }
    proxy.blackHole();
    await load.flows();
    proxy.pass();
    proxy.cut();
    await load.flows();
    await load.finish();
    await rightIn(node, load);
  });

  test('restored to an earlier state while spill runs', { timeout: TEST_MS }, async () => {
    await newDatabase();
    // Ids are forgotten after 15 s, so that what is folded again is in no memory, only in the logs.
    const node = await start({ args: ['--dedupe-window', '15 s'] });
    const load = await loadOn(node, 'a restored database');
    await load.flows();
    await until('something is folded', async () => (await count('spill.ledger')) > 500);
    const saved = `saved_${databases}`;
    await whileNobodyIsConnected(() => admin(`CREATE DATABASE ${saved} TEMPLATE ${nameOf(databaseUrl)}`));
    const client = await LoadClient.open(node.natsUrl);
    const old = { account: 'hot-0', id: 'old', amount: 7, timestamp: Date.now() * 1_000 };
    const sendOld = async (): Promise<LoadAnswer> => {
      load.model.tried(old);
      const [answer] = await client.submit([old], 'json');
      if (answer!.end === 'answered') load.model.answered(old, answer!.status);
      return answer!;
    };
    expect(await sendOld()).toEqual({ end: 'answered', status: 'stored' });
    await load.flows();
    const savedAt = Date.now() * 1_000;
    await load.finish();
    const later = await startLoad({
      natsUrl: node.natsUrl,
      seed: newSeed('a restored database, later'),
      singles: 20,
      batches: 0,
      model: load.model,
      prefix: 'later-',
      nameOf: (account) => (account < 0 ? `account-${-account}` : `hot-${account % 5}`),
      accounts: 1,
      probes: 0,
      duplicates: false,
    });
    await until('all ids of that time are forgotten', async () => {
      const { shards } = await ask<{ shards: { horizon: number }[] }>(node, 'performance');
      return shards.every(({ horizon }) => Number(horizon) > savedAt);
    });
    // So that nothing is folded again before the test has looked.
    await query(
      { connectionString: new URL(saved, databaseUrl).href },
      `CREATE FUNCTION public.wait() RETURNS trigger LANGUAGE plpgsql AS
         $$ BEGIN RAISE EXCEPTION 'not yet' USING ERRCODE = '53000'; END $$;
       CREATE TRIGGER wait BEFORE UPDATE ON spill.watermark FOR EACH ROW EXECUTE FUNCTION public.wait()`,
    );
    await whileNobodyIsConnected(async () => {
      await admin(`DROP DATABASE ${nameOf(databaseUrl)}`);
      await admin(`CREATE DATABASE ${nameOf(databaseUrl)} TEMPLATE ${saved}`);
    });
    await until('it is folded again', () => refolds(node));
    // Neither in a memory nor in the ledger, and yet it was stored: it can't be told now.
    expect(await sendOld()).toMatchObject({ end: 'again', code: 'unavailable' });
    await sql('DROP TRIGGER wait ON spill.watermark');
    let answer: LoadAnswer;
    do answer = await sendOld();
    while (answer.end === 'again');
    expect(answer).toEqual({ end: 'answered', status: 'duplicate' });
    await client.close();
    await later.flows(20);
    await later.finish();
    await rightIn(node, load);
    await until('nothing is refolding any more', async () => !(await refolds(node)));
  });

  test('a trigger that raises for one account', { timeout: TEST_MS }, async () => {
    await newDatabase();
    await sql(`
      CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'the account is frozen'; END $$;
      CREATE TRIGGER refuse BEFORE UPDATE ON accounts FOR EACH ROW WHEN (NEW.id = 'hot-1') EXECUTE FUNCTION refuse()`);
    const node = await start();
    const load = await loadOn(node, 'a raising trigger');
    await load.flows();
    await load.finish();
    await rightIn(node, load, { mayStaySetAside: true });
    expect(await count(`spill.ledger WHERE account <> 'hot-1' AND state <> 'applied'`)).toBe(0);
    const { rows } = await sql(
      `SELECT DISTINCT state::text, reason::text, detail FROM spill.ledger WHERE account = 'hot-1'`,
    );
    // A fold may meet the row just while a retry holds it; the next retry finds out why it is refused.
    expect(rows.filter(({ reason }) => reason !== 'row_locked')).toEqual([
      { state: 'set_aside', reason: 'constraint', detail: expect.stringContaining('the account is frozen') },
    ]);
    await sql('DROP TRIGGER refuse ON accounts');
    await rightIn(node, load);
  });

  test('an account whose set-aside rows can not be touched does not hold up the others', {
    timeout: TEST_MS,
  }, async () => {
    await newDatabase();
    const node = await start();
    const client = await LoadClient.open(node.natsUrl);
    const accounts = ['late-1', 'late-2', 'late-3'];
    const transactions = accounts.map((account) => ({ account, id: 't', amount: 5 }));
    const stored = await client.submit(transactions, 'json');
    await client.close();
    expect(stored).toEqual(accounts.map(() => ({ end: 'answered', status: 'stored' })));
    await until('they are set aside', async () => {
      return (await count(`spill.ledger WHERE state = 'set_aside' AND reason = 'row_missing'`)) === 3;
    });
    await sql(`
      CREATE FUNCTION public.broken() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN RAISE EXCEPTION 'a broken page' USING ERRCODE = 'XX001'; END $$;
      CREATE TRIGGER broken BEFORE UPDATE ON spill.ledger FOR EACH ROW WHEN (OLD.account = 'late-1')
        EXECUTE FUNCTION public.broken()`);
    await sql('INSERT INTO accounts SELECT unnest($1::text[]), 0', [accounts]);
    await until('the others are applied', async () => (await count('accounts WHERE balance = 5')) === 2);
    await sql('DROP TRIGGER broken ON spill.ledger');
    await until('all are', async () => (await count('accounts WHERE balance = 5')) === 3);
  });

  test('a table with uuid accounts and numeric balances', { timeout: TEST_MS }, async () => {
    databases += 1;
    databaseUrl = await postgres.createDatabase(`fault_${databases}`);
    const uuidOf = (account: number): string => `${String(account + 100).padStart(8, '0')}-0000-4000-8000-000000000000`;
    await sql('CREATE SCHEMA bank; CREATE TABLE bank.book (account uuid PRIMARY KEY, amount numeric(20, 2) NOT NULL)');
    await sql('INSERT INTO bank.book SELECT unnest($1::uuid[]), 12.34', [
      Array.from({ length: 1_100 }, (_, i) => uuidOf(i - 100)),
    ]);
    const args = ['--table', 'bank.book', '--id-column', 'account', '--id-type', 'uuid'];
    args.push('--balance-column', 'amount', '--balance-type', 'numeric', '--minor-units', '2');
    const node = await start({ args });
    const load = await startLoad({
      natsUrl: node.natsUrl,
      seed: newSeed('uuid and numeric'),
      singles: 200,
      accounts: 900,
      nameOf: uuidOf,
      opening: 1_234n,
    });
    await load.flows();
    await load.finish();
    await rightIn(node, load, {
      table: { name: 'bank.book', id: 'account', balance: '(amount * 100)::bigint' },
      opening: () => 1_234n,
    });
  });

  test('down for a while: transactions flow, reads say so, then all is folded', { timeout: TEST_MS }, async () => {
    await newDatabase();
    const node = await start();
    const load = await loadOn(node, 'a database that is down');
    await load.flows();
    await postgres.kill9();
    await load.flows();
    const nc = await connect({ servers: node.natsUrl });
    for (const subject of ['spill.balance.get', 'spill.transactions.retrieve']) {
      const reply = await nc.request(subject, JSON.stringify({ account: 'hot-0' }), { timeout: 10_000 });
      expect(reply.json()).toEqual({ error: expect.objectContaining({ code: 'unavailable', retryable: true }) });
    }
    await nc.close();
    await load.flows();
    await postgres.restart();
    await load.finish();
    await rightIn(node, load);
  });

  test('that answers nothing any more does not keep a node from stopping cleanly', { timeout: TEST_MS }, async () => {
    await newDatabase();
    const { node, proxy } = await startProxied();
    const load = await startLoad({
      natsUrl: node.natsUrl,
      seed: newSeed('a silent database'),
      singles: 200,
      probes: 0,
    });
    await load.flows();
    proxy.blackHole();
    await load.flows(1_000);
    await load.finish();
    const reader = await LoadClient.open(node.natsUrl);
    const read = reader.balance('hot-0');
    expect(await node.stop()).toBe(0);
    expect(await read).toBe(null);
    await reader.close();
    proxy.pass();
    proxy.cut();
    await node.restart();
    await rightIn(node, load);
  });
});

function nameOf(url: string): string {
  return new URL(url).pathname.slice(1);
}

function admin(text: string): Promise<pg.QueryResult> {
  return query({ connectionString: postgres.url }, text);
}

/** A database can be copied and dropped only while no session is in it. */
async function whileNobodyIsConnected(work: () => Promise<unknown>): Promise<void> {
  const name = nameOf(databaseUrl);
  await admin(`ALTER DATABASE ${name} ALLOW_CONNECTIONS false`);
  await until(`nobody is connected to ${name}`, async () => {
    const { rowCount } = await admin(
      `SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '${name}'`,
    );
    return rowCount === 0;
  });
  await work();
  await admin(`ALTER DATABASE ${name} ALLOW_CONNECTIONS true`);
}

/** What spill had begun before the test changed something is committed or undone. */
async function transactionsBeforeNowAreOver(): Promise<void> {
  const { now } = (await sql('SELECT clock_timestamp()::text AS now')).rows[0];
  await until('transactions end', async () => {
    const older = `pg_stat_activity WHERE application_name = 'spill' AND xact_start <= $1::timestamptz`;
    return (await count(older, [now])) === 0;
  });
}

async function ask<T>(node: TestNode, verb: string): Promise<T> {
  const nc = await connect({ servers: node.natsUrl });
  try {
    return (await nc.request(`spill.supervisor.${verb}`, '{}', { timeout: 10_000 })).json<T>();
  } finally {
    await nc.close();
  }
}

async function refolds(node: TestNode): Promise<boolean> {
  const { shards } = await ask<{ shards: { refolding?: true }[] }>(node, 'topology');
  return shards.some(({ refolding }) => refolding === true);
}
