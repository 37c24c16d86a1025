import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type EmbeddedDatabase, ensureDefaultTable, findEmbeddedDatabase, startEmbeddedDatabase } from '@spill/node';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  folded,
  foldOf,
  freshDataTable,
  openDataTable,
  type Row,
  startOf,
  type TestDatabase,
} from '../support/data-table-fixture.js';
import { prepareEmbeddedDataDir } from '../support/embedded-data-dir.js';

async function connected(embedded: EmbeddedDatabase): Promise<pg.Client> {
  const client = new pg.Client(embedded.connection);
  await client.connect();
  return client;
}

async function newDataDir(): Promise<string> {
  const dataDir = mkdtempSync(join(tmpdir(), 'spill-embedded-'));
  await prepareEmbeddedDataDir(dataDir);
  return dataDir;
}

describe('an embedded database and several clients', () => {
  let dataDir: string;
  let embedded: EmbeddedDatabase;

  beforeAll(async () => {
    dataDir = await newDataDir();
    embedded = await startEmbeddedDatabase({ dataDir });
  });
  afterAll(async () => {
    await embedded?.stop();
    rmSync(dataDir, { recursive: true, force: true });
  });
  afterEach(async () => {
    const client = await connected(embedded);
    await client.query('DROP TABLE IF EXISTS t, accounts');
    await client.end();
  });

  it('serves several clients at once: statements with parameters do not get mixed up', async () => {
    const clients = await Promise.all(Array.from({ length: 4 }, () => connected(embedded)));
    // Larger than the buffer of a socket: other clients' messages come between the Parse and the Bind.
    const large = 'x'.repeat(1_500_000);
    await Promise.all(
      clients.map(async (client, place) => {
        for (let round = 0; round < 3; round += 1) {
          const text =
            place % 2 === 0 ? 'SELECT length($1::text) + $2::int AS n' : 'SELECT left($1::text, 1) || $2::text AS n';
          const result = await client.query(text, [large, round]);
          expect(result.rows[0].n).toBe(place % 2 === 0 ? large.length + round : `x${round}`);
        }
      }),
    );
    await Promise.all(clients.map((client) => client.end()));
  });

  it('keeps transactions of several clients apart', async () => {
    await ensureDefaultTable(embedded.connection);
    await ensureDefaultTable(embedded.connection);
    const clients = await Promise.all(Array.from({ length: 4 }, () => connected(embedded)));
    await clients[0]!.query("INSERT INTO accounts VALUES ('a', 0)");
    await Promise.all(
      clients.map(async (client, place) => {
        for (let round = 0; round < 20; round += 1) {
          await client.query('BEGIN');
          const { rows } = await client.query('SELECT balance FROM accounts WHERE id = $1', ['a']);
          await client.query('UPDATE accounts SET balance = $1 WHERE id = $2', [BigInt(rows[0].balance) + 1n, 'a']);
          await client.query((place + round) % 4 === 0 ? 'ROLLBACK' : 'COMMIT');
        }
      }),
    );
    const { rows } = await clients[0]!.query('SELECT balance FROM accounts');
    expect(rows[0].balance).toBe('60');
    await Promise.all(clients.map((client) => client.end()));
  });

  it('goes on where clients fail, break off or vanish in the middle of a transaction', async () => {
    const survivor = await connected(embedded);
    await survivor.query('CREATE TABLE t (n int PRIMARY KEY)');
    await expect(survivor.query('SELECT $1::int / 0', [1])).rejects.toMatchObject({ code: '22012' });
    await expect(survivor.query('nonsense')).rejects.toMatchObject({ code: '42601' });

    const gone = await connected(embedded);
    gone.on('error', () => {
      // Expected: its socket is destroyed.
    });
    await gone.query('BEGIN; INSERT INTO t VALUES (1)');
    const waiting = survivor.query('SELECT count(*)::int AS n FROM t');
    (gone as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy();
    expect((await waiting).rows[0].n).toBe(0);
    await survivor.end();
  });

  it('lets three shards fold through it at once', async () => {
    const database: TestDatabase = {
      name: 'PGlite',
      connection: embedded.connection,
      embedded: true,
      postgres: null,
      stop: async () => {},
    };
    const table = await freshDataTable(database);
    const client = await connected(embedded);
    await client.query("INSERT INTO accounts SELECT 'a' || g, 0 FROM generate_series(0, 9) g");
    await Promise.all(
      [1, 2, 3].map(async (shard) => {
        const own = openDataTable(database);
        let from = startOf(shard);
        for (let record = 0; record < 10; record += 1) {
          const rows: Row[] = Array.from({ length: 50 }, (_, i) => [`a${i % 10}`, `${shard}-${record}-${i}`, 1n]);
          from = folded(await own.fold(foldOf(from, rows))).watermark;
          await own.readBalances(['a1'], [1, 2, 3]);
        }
        await own.close();
      }),
    );
    const { rows } = await client.query('SELECT sum(balance)::int AS sum FROM accounts');
    expect(rows[0].sum).toBe(1500);
    await client.end();
    await table.close();
  });

  it('does not block the event loop of the process that serves it', async () => {
    const client = await connected(embedded);
    let longest = 0;
    let last = performance.now();
    const timer = setInterval(() => {
      longest = Math.max(longest, performance.now() - last);
      last = performance.now();
    }, 5);
    const started = performance.now();
    await client.query('SELECT count(*) FROM generate_series(1, 3000000)');
    const took = performance.now() - started;
    clearInterval(timer);
    expect(longest).toBeLessThan(took / 2);
    await client.end();
  });
});

describe('an embedded database of its own', () => {
  let dataDir: string;
  let embedded: EmbeddedDatabase | undefined;
  let child: ChildProcess | undefined;

  beforeEach(async () => {
    dataDir = await newDataDir();
  });
  afterEach(async () => {
    child?.kill('SIGKILL');
    child = undefined;
    await embedded?.stop();
    embedded = undefined;
    rmSync(dataDir, { recursive: true, force: true });
  });

  it('cuts off a session that holds a transaction and says nothing while others wait', async () => {
    embedded = await startEmbeddedDatabase({ dataDir, holdMsMax: 200 });
    const stopped = await connected(embedded);
    const cut = once(stopped, 'error');
    await stopped.query('CREATE TABLE t (n int)');
    await stopped.query('BEGIN; INSERT INTO t VALUES (1)');
    const other = await connected(embedded);
    expect((await other.query('SELECT count(*)::int AS n FROM t')).rows[0].n).toBe(0);
    await cut;
    await other.end();
  });

  it('puts the socket into a private temporary folder where the data folder has a long path', async () => {
    const long = join(dataDir, 'x'.repeat(100));
    await prepareEmbeddedDataDir(long);
    embedded = await startEmbeddedDatabase({ dataDir: long });
    expect(embedded.socketDir.startsWith(long)).toBe(false);
    expect(readFileSync(join(long, 'socket-dir'), 'utf8').trim()).toBe(embedded.socketDir);
    const client = new pg.Client(findEmbeddedDatabase(long)!);
    await client.connect();
    await client.end();
    const { socketDir } = embedded;
    await embedded.stop();
    embedded = undefined;
    expect(existsSync(socketDir)).toBe(false);
    expect(findEmbeddedDatabase(join(dataDir, 'nothing-here'))).toBe(null);
  });

  it('has everything that was committed after its process was killed', async () => {
    const start = async () => {
      child = spawn(process.execPath, [new URL('../support/serve-embedded.mjs', import.meta.url).pathname, dataDir], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      await once(createInterface({ input: child.stdout! }), 'line');
    };
    await start();
    const client = new pg.Client(findEmbeddedDatabase(dataDir)!);
    client.on('error', () => {
      // Expected: its server is killed.
    });
    await client.connect();
    await client.query('CREATE TABLE t (n int PRIMARY KEY)');
    for (let n = 0; n < 50; n += 1) await client.query('INSERT INTO t VALUES ($1)', [n]);
    await client.query('BEGIN; INSERT INTO t VALUES (1000)');
    const exited = once(child!, 'exit');
    child!.kill('SIGKILL');
    await exited;

    await start();
    const again = new pg.Client(findEmbeddedDatabase(dataDir)!);
    await again.connect();
    const { rows } = await again.query('SELECT count(*)::int AS count, max(n) AS max FROM t');
    expect(rows[0]).toEqual({ count: 50, max: 49 });
    await again.end();
  });
});
