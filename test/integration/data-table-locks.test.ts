import { TransientDataTableError } from '@spill/core';
import type { PostgresDataTable } from '@spill/node';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  anyLedger,
  folded,
  foldOf,
  foldRows,
  freshDataTable,
  hashOf,
  openDataTable,
  type Row,
  sql,
  startOf,
  startTestDatabase,
  type TestDatabase,
  transaction,
} from '../support/data-table-fixture.js';
import { until } from '../support/fault.js';

/** Longer than anything takes on a busy machine: what waits so long waits for a lock. */
const PATIENT_MS = 20_000;
const NOTE = { who: 'ada', why: 'a test' };

/** What needs several sessions at once, which PGlite does not have. */
describe('data table, locks (PostgreSQL only)', () => {
  let database: TestDatabase;
  let table: PostgresDataTable;
  let other: pg.Client;

  beforeAll(async () => {
    database = await startTestDatabase('PostgreSQL');
  });
  afterAll(async () => {
    await database?.stop();
  });
  afterEach(async () => {
    await other?.end();
    await table?.close();
  });

  /** A table with these accounts at 0, and another session in a transaction that has run `locking`. */
  async function whileAnotherSession(locking: string, accounts: readonly string[], ddl?: string, lockMsMax = 300) {
    table = await freshDataTable(database, ddl, {}, { lockMsMax });
    await sql(database, 'INSERT INTO accounts SELECT unnest($1::text[]), 0', [accounts]);
    other = new pg.Client(database.connection);
    await other.connect();
    await other.query(`BEGIN; ${locking}`);
  }

  async function untilWaiting(sessions: number): Promise<void> {
    await until(`${sessions} to wait for a lock`, async () => {
      const [row] = await sql(database, 'SELECT count(*)::int AS waiting FROM pg_locks WHERE NOT granted');
      return row!.waiting === sessions;
    });
  }

  async function balanceOf(account: string): Promise<string> {
    return (await sql(database, 'SELECT balance::text AS balance FROM accounts WHERE id = $1', [account]))[0]!
      .balance as string;
  }

  it('sets aside a hot row that another session holds for seconds, folds the others, and applies it later', async () => {
    await whileAnotherSession("UPDATE accounts SET balance = balance + 1000 WHERE id = 'hot'", ['a', 'hot', 'z']);
    const rows: Row[] = [
      ['z', '1', 1n],
      ['hot', '1', 5n],
      ['a', '1', 1n],
      ['hot', '2', 6n],
    ];
    const started = performance.now();
    const { watermark, ...counts } = folded(await table.fold(foldOf(startOf(1), rows)));
    expect(performance.now() - started).toBeGreaterThan(250);
    expect(counts).toMatchObject({ applied: 2, setAside: 2 });
    expect(await table.listSetAside({ limit: 10 })).toMatchObject([
      { account: 'hot', reason: 'row_locked' },
      { account: 'hot', reason: 'row_locked' },
    ]);
    expect((await table.readBalances(['hot'], [])).accounts[0]).toMatchObject({ row: 0n, setAside: 11n });
    expect(await table.retrySetAside({ dueOnly: true, limit: 10 })).toEqual({ applied: 0, remaining: 2 });

    const next = folded(await table.fold(foldOf(watermark, [['a', '2', 1n]])));
    expect(next.applied).toBe(1);

    await other.query('COMMIT');
    expect(await table.retrySetAside({ dueOnly: false, limit: 10 })).toEqual({ applied: 2, remaining: 0 });
    expect(await balanceOf('hot')).toBe('1011');
    const { accounts } = await table.accountTotals({ accounts: ['hot'], limit: 1 });
    expect(accounts[0]).toMatchObject({ opening: 1000n, drift: 0n });
  });

  it('waits for a lock that is held briefly, and sets nothing aside', async () => {
    await whileAnotherSession(
      "UPDATE accounts SET balance = balance + 1 WHERE id = 'hot'",
      ['hot'],
      undefined,
      PATIENT_MS,
    );
    const folding = table.fold(foldOf(startOf(1), [['hot', '1', 5n]]));
    await sql(database, 'SELECT pg_sleep(0.1)');
    await other.query('COMMIT');
    expect(folded(await folding)).toMatchObject({ applied: 1, setAside: 0 });
    expect(await balanceOf('hot')).toBe('6');
  });

  it('locks an account for the change of its balance alone: not while its ledger rows are written', async () => {
    const ledgerRow = `INSERT INTO spill.ledger (account, id, amount, timestamp, state)
      VALUES ('hot', '1', 5, now(), 'applied')`;
    await whileAnotherSession(ledgerRow, ['hot'], undefined, PATIENT_MS);
    const folding = table.fold(foldOf(startOf(1), [['hot', '1', 5n]]));
    await untilWaiting(1);
    await sql(database, "SELECT FROM accounts WHERE id = 'hot' FOR UPDATE NOWAIT");
    await other.query('ROLLBACK');
    expect(folded(await folding)).toMatchObject({ applied: 1 });
  });

  it('takes its locks in the order of direct writes: both at once store one transaction once, and neither is undone', async () => {
    const busy = "UPDATE accounts SET balance = balance + 1 WHERE id = 'hot'";
    await whileAnotherSession(busy, ['hot'], undefined, PATIENT_MS);
    const writing = table.direct(transaction('hot', '1', 5n), anyLedger);
    await untilWaiting(1);
    const folding = table.fold(foldOf(startOf(1), [['hot', '1', 5n]]));
    await untilWaiting(2);
    await other.query('COMMIT');
    expect((await writing).outcome).toBe('applied');
    expect(folded(await folding)).toMatchObject({ applied: 0, dropped: 1 });
    expect(await balanceOf('hot')).toBe('6');
  });

  it('waits for accounts though it has waited in vain for a key of the ledger, and sets nothing aside', async () => {
    const held = "UPDATE accounts SET balance = 1 WHERE id = 'cold'; SAVEPOINT key";
    await whileAnotherSession(held, ['cold', 'hot'], undefined, 2_000);
    await other.query(
      `INSERT INTO spill.ledger (account, id, amount, timestamp, state) VALUES ('hot', '1', 5, now(), 'applied')`,
    );
    const rows: Row[] = [
      ['hot', '1', 5n],
      ['cold', '1', 5n],
    ];
    const folding = table.fold(foldOf(startOf(1), rows));
    await until('it to begin again alone', async () => {
      const [row] = await sql(
        database,
        "SELECT count(*)::int AS alone FROM pg_locks WHERE locktype = 'advisory' AND mode = 'ExclusiveLock'",
      );
      return row!.alone === 1;
    });
    await untilWaiting(1);
    await other.query('ROLLBACK TO key');
    await until('it to wait for the account', async () => {
      const [row] = await sql(
        database,
        "SELECT count(*)::int AS waiting FROM pg_locks l JOIN pg_stat_activity USING (pid) WHERE NOT granted AND query LIKE '%FOR NO KEY UPDATE%'",
      );
      return row!.waiting === 1;
    });
    await other.query('COMMIT');
    expect(folded(await folding)).toMatchObject({ applied: 2, setAside: 0 });
  });

  it('does not wait for sessions that only refer to the account by a foreign key', async () => {
    await whileAnotherSession(
      "INSERT INTO payments VALUES ('hot')",
      ['hot'],
      `DROP TABLE IF EXISTS payments;
       CREATE TABLE accounts (id text PRIMARY KEY, balance bigint NOT NULL DEFAULT 0);
       CREATE TABLE payments (account text REFERENCES accounts)`,
    );
    expect(folded(await table.fold(foldOf(startOf(1), [['hot', '1', 5n]])))).toMatchObject({ applied: 1 });
    await other.query('ROLLBACK; DROP TABLE payments');
  });

  it.each(['accounts', 'spill.ledger', 'spill.watermark', 'spill.opening'])(
    'is blocked by a lock on the whole of %s: nothing is set aside, and it goes on after',
    async (locked) => {
      await whileAnotherSession(`LOCK TABLE ${locked} IN SHARE MODE`, ['a']);
      const request = foldOf(startOf(1), [['a', '1', 5n]]);
      expect((await table.fold(request)).outcome).toBe('blocked');
      await other.query('COMMIT');
      expect(folded(await table.fold(request))).toMatchObject({ applied: 1 });
    },
  );

  it('is transient where another fold of the same shard holds the watermark', async () => {
    await whileAnotherSession('SELECT 1', ['a']);
    const { watermark } = folded(await table.fold(foldOf(startOf(1), [['a', '1', 5n]])));
    await other.query('SELECT FROM spill.watermark WHERE shard = 1 FOR UPDATE');
    await expect(table.fold(foldOf(watermark, [['a', '2', 5n]]))).rejects.toThrow(TransientDataTableError);
    await other.query('ROLLBACK');
  });

  it('does not meet its own predecessor twice: two processes fold the same range at once', async () => {
    await whileAnotherSession('SELECT 1', ['a']);
    const successor = openDataTable(database);
    const request = foldOf(startOf(1), [['a', '1', 5n]]);
    const outcomes = await Promise.all([table.fold(request), successor.fold({ ...request, assignment: 2 })]);
    expect(outcomes.map((outcome) => outcome.outcome).sort()).toEqual(['folded', 'watermark_differs']);
    expect(await balanceOf('a')).toBe('5');
    await successor.close();
  });

  it('sets aside, and does not create, an account that another session is just inserting', async () => {
    await whileAnotherSession("INSERT INTO accounts VALUES ('new3', 50)", []);
    await table.close();
    table = openDataTable(database, { createAccounts: true });
    const rows: Row[] = Array.from({ length: 6 }, (_, i) => [`new${i}`, '1', 1n]);
    expect(folded(await table.fold(foldOf(startOf(1), rows)))).toMatchObject({ applied: 5, setAside: 1 });
    await other.query('COMMIT');
    expect(await table.retrySetAside({ dueOnly: true, limit: 10 })).toEqual({ applied: 1, remaining: 0 });
    expect(await balanceOf('new3')).toBe('51');
  });

  it('answers unavailable on the direct path while the row is locked', async () => {
    await whileAnotherSession("UPDATE accounts SET balance = 1 WHERE id = 'a'", ['a']);
    expect(await table.direct(transaction('a', '1', 5n), anyLedger)).toMatchObject({ outcome: 'unavailable' });
    expect(await table.ledger([{ account: 'a', id: '1' }])).toEqual([null]);
    await other.query('ROLLBACK');
    expect((await table.direct(transaction('a', '1', 5n), anyLedger)).outcome).toBe('applied');
  });

  it('refuses to move to an account whose row is locked, and leaves all as it was', async () => {
    await whileAnotherSession("UPDATE accounts SET balance = 1 WHERE id = 'a'", ['a']);
    folded(await table.fold(foldOf(startOf(1), [['gone', '1', 5n]])));
    await expect(table.moveSetAside({ account: 'gone', id: '1' }, 'a', NOTE)).rejects.toMatchObject({
      code: 'conflict',
    });
    await other.query('ROLLBACK');
    expect((await table.moveSetAside({ account: 'gone', id: '1' }, 'a', NOTE)).appliedAccount).toBe('a');
  });

  it('lets only one of a retry, a move and a write-off win', async () => {
    await whileAnotherSession('SELECT 1', ['b']);
    for (let round = 0; round < 10; round += 1) {
      const account = `late${round}`;
      folded(await table.fold(foldOf(startOf(10 + round), [[account, 'x', 5n]])));
      await sql(database, 'INSERT INTO accounts VALUES ($1, 0)', [account]);
      const key = { account, id: 'x' };
      await Promise.allSettled([
        table.retrySetAside({ accounts: [account], dueOnly: true, limit: 1 }),
        table.moveSetAside(key, 'b', NOTE),
        table.writeOff(key, NOTE),
      ]);
      await table.retrySetAside({ accounts: [account], dueOnly: false, limit: 1 });
    }
    const { accounts } = await table.accountTotals({ limit: 100 });
    for (const totals of accounts.filter((row) => row.account !== 'b')) {
      expect(totals.ownApplied.count + totals.movedOut.count + totals.writtenOff.count).toBe(1n);
      if (totals.drift !== null) expect(totals.drift).toBe(0n);
    }
    expect(accounts.find((row) => row.account === 'b')?.drift ?? 0n).toBe(0n);
  });

  it('three shards fold the same accounts at once, beside direct writes and retries: no deadlock, every unit counted', async () => {
    const accounts = Array.from({ length: 50 }, (_, i) => `acc${i}`);
    await whileAnotherSession('SELECT 1', accounts);
    let deadlocks = 0;
    const total = new Map<string, bigint>();
    const count = (account: string, amount: bigint) => total.set(account, (total.get(account) ?? 0n) + amount);

    const shards = [1, 2, 3].map(async (shard) => {
      const own = openDataTable(database, {}, { lockMsMax: 2_000 });
      let from = startOf(shard);
      for (let record = 1; record <= 12; record += 1) {
        // Every shard in an order of its own.
        const rows = accounts.flatMap((_, i): Row[] => {
          const account = accounts[(i * (shard * 2 + 1) + record) % accounts.length]!;
          return [0, 1].map((n): Row => [account, `${shard}-${record}-${i}-${n}`, BigInt(shard === 2 ? -3 : i + 1)]);
        });
        for (const [account, , amount] of rows) count(account, amount);
        const request = {
          ...foldOf(from, []),
          to: { sequence: record, number: record, hash: hashOf(record) },
          rows: foldRows(rows, record),
        };
        for (;;) {
          try {
            from = folded(await own.fold(request)).watermark;
            break;
          } catch (error) {
            if (!(error instanceof TransientDataTableError)) throw error;
            deadlocks += error.code === '40P01' ? 1 : 0;
          }
        }
      }
      await own.close();
    });
    const direct = (async () => {
      for (let n = 0; n < 60; n += 1) {
        const account = accounts[(n * 7) % accounts.length]!;
        const outcome = await table.direct(transaction(account, `direct-${n}`, 10n), anyLedger);
        if (outcome.outcome === 'applied') count(account, 10n);
      }
    })();
    const retries = (async () => {
      for (let n = 0; n < 20; n += 1) await table.retrySetAside({ dueOnly: false, limit: 10 });
    })();
    await Promise.all([...shards, direct, retries]);
    await table.retrySetAside({ dueOnly: false, limit: 100 });

    expect(deadlocks).toBe(0);
    for (const account of accounts) expect(await balanceOf(account)).toBe((total.get(account) ?? 0n).toString());
    for (const totals of (await table.accountTotals({ limit: 100 })).accounts) {
      expect(totals).toMatchObject({ drift: 0n, setAside: { count: 0n, sum: 0n } });
    }
  });

  it('reads a balance while folds run: row, set aside and watermark are always of one moment', async () => {
    await whileAnotherSession('SELECT 1', ['a']);
    const folding = (async () => {
      let from = startOf(1);
      for (let record = 1; record <= 40; record += 1) {
        const rows: Row[] = [
          ['a', `${record}`, 1n],
          ['missing', `${record}`, 1n],
        ];
        from = folded(await table.fold(foldOf(from, rows))).watermark;
      }
    })();
    let last = 0n;
    while (last < 40n) {
      const { accounts, watermarks } = await table.readBalances(['a', 'missing'], [1]);
      const expected = BigInt(watermarks.get(1)?.sequence ?? 0);
      expect([accounts[0]!.row, accounts[1]!.setAside]).toEqual([expected, expected]);
      last = expected;
    }
    await folding;
  });

  it('survives a server that dies in the middle of a fold, and folds once', async () => {
    await whileAnotherSession("UPDATE accounts SET balance = 1 WHERE id = 'a'", ['a', 'b'], undefined, PATIENT_MS);
    other.on('error', () => {
      // Expected: its server is killed.
    });
    const request = foldOf(startOf(1), [
      ['a', '1', 5n],
      ['b', '1', 5n],
    ]);
    const folding = table.fold(request).catch((error: Error) => error);
    await sql(database, 'SELECT pg_sleep(0.1)');
    await database.postgres!.kill9();
    expect(await folding).toMatchObject({ name: 'DataTableUnavailableError' });
    await expect(table.watermarks()).rejects.toMatchObject({ name: 'DataTableUnavailableError' });
    await database.postgres!.restart();
    expect(folded(await table.fold(request))).toMatchObject({ applied: 2 });
    expect([await balanceOf('a'), await balanceOf('b')]).toEqual(['5', '5']);
  });
});
