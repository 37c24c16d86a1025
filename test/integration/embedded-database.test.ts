import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { type EmbeddedDatabase, ensureDefaultTable, findEmbeddedDatabase, startEmbeddedDatabase } from '@spill/node';
import pg from 'pg';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
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

describe('embedded database', () => {
  let dataDir: string;
  let embedded: EmbeddedDatabase | undefined;
  let child: ChildProcess | undefined;

  beforeEach(async () => {
    dataDir = mkdtempSync(join(tmpdir(), 'spill-embedded-'));
    await prepareEmbeddedDataDir(dataDir);
  });
  afterEach(async () => {
    child?.kill('SIGKILL');
    child = undefined;
    await embedded?.stop();
    embedded = undefined;
    rmSync(dataDir, { recursive: true, force: true });
  });

  async function connected(): Promise<pg.Client> {
    const client = new pg.Client(embedded!.connection);
    await client.connect();
    return client;
  }

  it('serves several clients at once: statements with parameters do not get mixed up', async () => {
    embedded = await startEmbeddedDatabase({ dataDir });
    const clients = await Promise.all(Array.from({ length: 8 }, connected));
    await Promise.all(
      clients.map(async (client, place) => {
        for (let round = 0; round < 40; round += 1) {
          // Two kinds of statements, so that an unnamed statement of another client would be noticed.
          const text = place % 2 === 0 ? 'SELECT $1::int + $2::int AS n' : "SELECT $1::text || '-' || $2::text AS n";
          const result = await client.query(text, [place, round]);
          expect(result.rows[0].n).toBe(place % 2 === 0 ? place + round : `${place}-${round}`);
        }
      }),
    );
    await Promise.all(clients.map((client) => client.end()));
  });

  it('keeps transactions of several clients apart', async () => {
    embedded = await startEmbeddedDatabase({ dataDir });
    await ensureDefaultTable(embedded.connection);
    await ensureDefaultTable(embedded.connection);
    const clients = await Promise.all(Array.from({ length: 4 }, connected));
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
    embedded = await startEmbeddedDatabase({ dataDir });
    const survivor = await connected();
    await survivor.query('CREATE TABLE t (n int PRIMARY KEY)');
    await expect(survivor.query('SELECT $1::int / 0', [1])).rejects.toMatchObject({ code: '22012' });
    await expect(survivor.query('nonsense')).rejects.toMatchObject({ code: '42601' });

    const gone = await connected();
    gone.on('error', () => {
      // Expected: its socket is destroyed.
    });
    await gone.query('BEGIN; INSERT INTO t VALUES (1)');
    const waiting = survivor.query('SELECT count(*)::int AS n FROM t');
    (gone as unknown as { connection: { stream: { destroy(): void } } }).connection.stream.destroy();
    expect((await waiting).rows[0].n).toBe(0);
    await survivor.end();
  });

  it('cuts off a session that holds a transaction and says nothing while others wait', async () => {
    embedded = await startEmbeddedDatabase({ dataDir, holdMsMax: 200 });
    const stopped = await connected();
    const cut = once(stopped, 'error');
    await stopped.query('CREATE TABLE t (n int)');
    await stopped.query('BEGIN; INSERT INTO t VALUES (1)');
    const other = await connected();
    expect((await other.query('SELECT count(*)::int AS n FROM t')).rows[0].n).toBe(0);
    await cut;
    await other.end();
  });

  it('lets three shards fold through it at once', async () => {
    embedded = await startEmbeddedDatabase({ dataDir });
    const database: TestDatabase = {
      name: 'PGlite',
      connection: embedded.connection,
      embedded: true,
      postgres: null,
      stop: async () => {},
    };
    const table = await freshDataTable(database);
    const client = await connected();
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

  it('does not block the event loop of the process that serves it', async () => {
    embedded = await startEmbeddedDatabase({ dataDir });
    const client = await connected();
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
