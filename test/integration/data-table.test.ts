import { DataTableSchemaError, DataTableUnavailableError, OperatorActionError } from '@spill/core';
import type { PostgresDataTable, PostgresDataTableOptions } from '@spill/node';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  folded,
  foldOf,
  freshDataTable,
  hashOf,
  LOG,
  logOf,
  openDataTable,
  type Row,
  sql,
  startOf,
  startTestDatabase,
  type TestDatabase,
  timestampOf,
  transaction,
} from '../support/data-table-fixture.js';
import { type DatabaseProxy, startDatabaseProxy } from '../support/database-proxy.js';

const NOTE = { who: 'ada', why: 'a test' };

/**
 * One suite for every database behind the port. What only PostgreSQL can do (several sessions at once, and so locks to
 * wait for) is in the second half, and said in the names.
 */
describe.each(['PostgreSQL', 'PGlite'] as const)('data table on %s', (name) => {
  let database: TestDatabase;
  let table: PostgresDataTable;

  beforeAll(async () => {
    database = await startTestDatabase(name);
  });
  afterAll(async () => {
    await database?.stop();
  });
  afterEach(async () => {
    await table?.close();
  });

  async function withAccounts(accounts: Record<string, number>, options: Partial<PostgresDataTableOptions> = {}) {
    table = await freshDataTable(database, undefined, {}, options);
    for (const [id, balance] of Object.entries(accounts)) {
      await sql(database, 'INSERT INTO accounts VALUES ($1, $2)', [id, balance]);
    }
  }

  async function balances(): Promise<Record<string, string>> {
    const rows = await sql(database, 'SELECT id::text AS id, balance::text AS balance FROM accounts ORDER BY id::text');
    return Object.fromEntries(rows.map((row) => [row.id, row.balance])) as Record<string, string>;
  }

  async function states(): Promise<Record<string, string>> {
    const rows = await sql(
      database,
      'SELECT account, id, state::text, reason::text FROM spill.ledger ORDER BY account, id',
    );
    return Object.fromEntries(
      rows.map((row) => [`${row.account}/${row.id}`, row.reason === null ? row.state : `${row.state}: ${row.reason}`]),
    ) as Record<string, string>;
  }

  /** Row + set aside, as a balance read adds them. */
  async function counted(account: string): Promise<bigint> {
    const { accounts } = await table.readBalances([account], []);
    return (accounts[0]!.row ?? 0n) + accounts[0]!.setAside;
  }

  describe('fold', () => {
    it('moves balances, ledger and watermark together, and only once', async () => {
      await withAccounts({ a: 100, b: 0 });
      const request = foldOf(startOf(1), [
        ['b', 'x', 5n],
        ['a', 'x', -7n],
        ['b', 'y', 2n],
      ]);
      const outcome = folded(await table.fold(request));
      expect(outcome).toMatchObject({ applied: 3, dropped: 0, setAside: 0, conflicts: 0 });
      expect(outcome.watermark).toEqual({ ...request.to, shard: 1, logId: LOG, assignment: 1 });
      expect(await balances()).toEqual({ a: '93', b: '7' });
      expect(await table.watermark(1)).toEqual(outcome.watermark);
      expect(await table.watermarks()).toEqual([outcome.watermark]);
      expect(await table.ledger([key('a', 'x'), key('a', 'y')])).toEqual([
        {
          account: 'a',
          id: 'x',
          amount: -7n,
          timestamp: timestampOf(1, 1),
          shard: 1,
          sequence: 1,
          state: 'applied',
          reason: null,
          appliedAccount: null,
        },
        null,
      ]);

      expect(await table.fold(request)).toEqual({ outcome: 'watermark_differs', watermark: outcome.watermark });
      expect(await balances()).toEqual({ a: '93', b: '7' });
    });

    it('advances the watermark over records that hold nothing', async () => {
      await withAccounts({});
      const outcome = folded(await table.fold(foldOf(startOf(3), [])));
      expect(outcome.watermark.sequence).toBe(1);
    });

    it.each([
      ['log id', { logId: 'cd'.repeat(16) }],
      ['sequence', { sequence: 2 }],
      ['number', { number: 9 }],
      ['hash', { hash: hashOf(9) }],
    ])('writes nothing where the watermark has another %s', async (_, other) => {
      await withAccounts({ a: 0 });
      const { watermark } = folded(await table.fold(foldOf(startOf(1), [['a', '1', 1n]])));
      const request = foldOf({ ...watermark, ...other }, [['a', '2', 1n]]);
      expect(await table.fold(request)).toEqual({ outcome: 'watermark_differs', watermark });
      expect(await balances()).toEqual({ a: '1' });
    });

    it('writes nothing where a watermark is expected and there is none', async () => {
      await withAccounts({ a: 0 });
      const request = foldOf({ ...startOf(1), sequence: 4, number: 4, hash: hashOf(4) }, [['a', '1', 1n]]);
      expect(await table.fold(request)).toEqual({ outcome: 'watermark_differs', watermark: null });
      expect(await table.watermarks()).toEqual([]);
    });

    it('refuses the fold of a stale process: a higher assignment has folded', async () => {
      await withAccounts({ a: 0 });
      const { watermark } = folded(await table.fold(foldOf(startOf(1, LOG, 5), [['a', '1', 1n]])));
      const zombie = foldOf(watermark, [['a', '2', 1n]], { assignment: 4 });
      expect(await table.fold(zombie)).toEqual({ outcome: 'superseded', watermark });
      expect(await balances()).toEqual({ a: '1' });

      const successor = folded(await table.fold(foldOf(watermark, [['a', '2', 1n]], { assignment: 6 })));
      expect(successor.watermark.assignment).toBe(6);
    });

    it('drops an id that took effect before, from whatever shard', async () => {
      await withAccounts({ a: 0, b: 0 });
      const first: Row[] = [
        ['a', 'x', 5n],
        ['b', 'x', 3n],
      ];
      folded(await table.fold(foldOf(startOf(1), first)));
      const outcome = folded(await table.fold(foldOf(startOf(2), [...first, ['a', 'y', 1n]])));
      expect(outcome).toMatchObject({ applied: 1, dropped: 2, conflicts: 0 });
      expect(await balances()).toEqual({ a: '6', b: '3' });
    });

    it('takes the same id twice in one fold once', async () => {
      await withAccounts({ a: 0 });
      const outcome = folded(
        await table.fold(
          foldOf(startOf(1), [
            ['a', 'x', 5n],
            ['a', 'x', 5n],
            ['a', 'x', 6n],
          ]),
        ),
      );
      expect(outcome).toMatchObject({ applied: 1, dropped: 1, conflicts: 1 });
      expect(await balances()).toEqual({ a: '5' });
    });

    it('keeps (x, A, +5) and then (x, A, −5) from another pool as a conflict, in no balance', async () => {
      await withAccounts({ A: 0 });
      folded(await table.fold(foldOf(startOf(1), [['A', 'x', 5n]])));
      const debit = foldOf(
        startOf(2),
        [
          ['A', 'x', -5n],
          ['A', 'z', 1n],
        ],
        { pool: 'debit' },
      );
      expect(folded(await table.fold(debit))).toMatchObject({ applied: 1, dropped: 0, conflicts: 1 });
      expect(await balances()).toEqual({ A: '6' });
      const conflict = {
        logId: logOf(2),
        shard: 2,
        sequence: 1,
        index: 0,
        account: 'A',
        id: 'x',
        amount: -5n,
        timestamp: timestampOf(1, 0),
        ledgerAmount: 5n,
        detail: null,
        state: 'open',
      };
      expect(await table.listConflicts({ state: 'open', limit: 10 })).toEqual([conflict]);

      const resolved = await table.resolveConflict(conflict, NOTE);
      expect(resolved.state).toBe('resolved');
      await expect(table.resolveConflict(conflict, NOTE)).rejects.toThrow(OperatorActionError);
      expect(await table.listConflicts({ state: 'open', limit: 10 })).toEqual([]);
      expect(await table.listOperatorActions(10)).toMatchObject([{ ...NOTE, action: 'resolve_conflict' }]);
    });

    it('keeps what no text column can hold as a conflict, and goes on', async () => {
      await withAccounts({ a: 0 });
      const outcome = folded(
        await table.fold(
          foldOf(startOf(1), [
            ['a', 'nul\u0000', 5n],
            ['a', 'lone\ud800', 5n],
            ['bad\u0000', 'x', 5n],
            ['a', 'good', 1n],
          ]),
        ),
      );
      expect(outcome).toMatchObject({ applied: 1, setAside: 0, conflicts: 3 });
      expect(await balances()).toEqual({ a: '1' });
      const conflicts = await table.listConflicts({ limit: 10 });
      expect(conflicts.map((row) => [row.account, row.id, row.ledgerAmount])).toEqual([
        ['a', 'nul\\u0000', null],
        ['a', 'lone\\ud800', null],
        ['bad\\u0000', 'x', null],
      ]);
    });

    it('sets aside an unknown account without stopping for it', async () => {
      await withAccounts({ a: 0 });
      const outcome = folded(
        await table.fold(
          foldOf(startOf(1), [
            ['nobody', '1', 5n],
            ['a', '1', 1n],
            ['nobody', '2', 2n],
          ]),
        ),
      );
      expect(outcome).toMatchObject({ applied: 1, setAside: 2 });
      expect(outcome.watermark.sequence).toBe(1);
      expect(await states()).toEqual({
        'a/1': 'applied',
        'nobody/1': 'set_aside: row_missing',
        'nobody/2': 'set_aside: row_missing',
      });
      expect(await counted('nobody')).toBe(7n);
    });

    it('creates unknown accounts with balance 0 first, where it is told to', async () => {
      table = await freshDataTable(database, undefined, { createAccounts: true });
      const outcome = folded(
        await table.fold(
          foldOf(startOf(1), [
            ['new2', '1', 5n],
            ['new1', '1', -1n],
          ]),
        ),
      );
      expect(outcome).toMatchObject({ applied: 2, setAside: 0 });
      expect(await balances()).toEqual({ new1: '-1', new2: '5' });
      const { accounts } = await table.accountTotals({ limit: 10 });
      expect(accounts.map((row) => [row.account, row.opening, row.drift])).toEqual([
        ['new1', 0n, 0n],
        ['new2', 0n, 0n],
      ]);
    });

    it('sets aside those accounts that can not be created, and creates the others', async () => {
      table = await freshDataTable(
        database,
        "CREATE TABLE accounts (id text PRIMARY KEY CHECK (id NOT LIKE 'bad%'), balance bigint NOT NULL)",
        { createAccounts: true },
      );
      const rows: Row[] = Array.from({ length: 20 }, (_, i) => [i % 7 === 3 ? `bad${i}` : `ok${i}`, '1', 1n]);
      expect(folded(await table.fold(foldOf(startOf(1), rows)))).toMatchObject({ applied: 17, setAside: 3 });
      expect((await states())['bad3/1']).toBe('set_aside: constraint');
      expect(Object.keys(await balances())).toHaveLength(17);
    });

    it('narrows a check constraint down to the accounts that break it', async () => {
      table = await freshDataTable(
        database,
        'CREATE TABLE accounts (id text PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0))',
      );
      await sql(database, "INSERT INTO accounts SELECT 'a' || g, 10 FROM generate_series(0, 39) g");
      const rows: Row[] = Array.from({ length: 40 }, (_, i) => [`a${i}`, '1', i % 13 === 5 ? -11n : -10n]);
      expect(folded(await table.fold(foldOf(startOf(1), rows)))).toMatchObject({ applied: 37, setAside: 3 });
      const after = await balances();
      expect([after.a5, after.a18, after.a31, after.a4]).toEqual(['10', '10', '10', '0']);
      expect((await states())['a18/1']).toBe('set_aside: constraint');
      const aside = await table.listSetAside({ limit: 10 });
      expect(aside[0]!.detail).toContain('23514');
    });

    it('finds the one account whose trigger raises', async () => {
      await withAccounts({});
      await sql(
        database,
        `INSERT INTO accounts SELECT 'a' || g, 0 FROM generate_series(0, 99) g;
         CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN IF NEW.id = 'a77' THEN RAISE EXCEPTION 'not this one'; END IF; RETURN NEW; END $$;
         CREATE TRIGGER refuse BEFORE UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION refuse()`,
      );
      const rows: Row[] = Array.from({ length: 100 }, (_, i) => [`a${i}`, '1', 1n]);
      expect(folded(await table.fold(foldOf(startOf(1), rows)))).toMatchObject({ applied: 99, setAside: 1 });
      expect((await states())['a77/1']).toBe('set_aside: constraint');
      expect((await table.listSetAside({ limit: 1 }))[0]!.detail).toContain('not this one');
      await sql(database, 'DROP FUNCTION refuse CASCADE');
    });

    it('does not count as applied what a trigger kept from the row', async () => {
      await withAccounts({ a: 0, b: 0 });
      await sql(
        database,
        `CREATE FUNCTION ignore() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN IF NEW.id = 'a' THEN RETURN NULL; END IF; RETURN NEW; END $$;
         CREATE TRIGGER ignore BEFORE UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION ignore()`,
      );
      const outcome = await table.fold(
        foldOf(startOf(1), [
          ['a', '1', 1n],
          ['b', '1', 1n],
        ]),
      );
      expect(folded(outcome)).toMatchObject({ applied: 1, setAside: 1 });
      expect(await balances()).toEqual({ a: '0', b: '1' });
      await sql(database, 'DROP FUNCTION ignore CASCADE');
    });

    it('sets aside for a row whose balance is NULL', async () => {
      table = await freshDataTable(database, 'CREATE TABLE accounts (id text PRIMARY KEY, balance bigint)');
      await sql(database, "INSERT INTO accounts VALUES ('a', NULL), ('b', 0)");
      const outcome = await table.fold(
        foldOf(startOf(1), [
          ['a', '1', 1n],
          ['b', '1', 1n],
        ]),
      );
      expect(folded(outcome)).toMatchObject({ applied: 1, setAside: 1 });
      const { accounts } = await table.readBalances(['a'], []);
      expect(accounts[0]).toMatchObject({ row: null, rowProblem: 'the balance is NULL', setAside: 1n });
    });

    it('refuses a deferred constraint in its own statement and not at COMMIT', async () => {
      await withAccounts({ a: 0, b: 0 });
      await sql(
        database,
        `CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN IF NEW.id = 'a' THEN RAISE EXCEPTION 'late'; END IF; RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON accounts DEFERRABLE INITIALLY DEFERRED
           FOR EACH ROW EXECUTE FUNCTION late()`,
      );
      const outcome = await table.fold(
        foldOf(startOf(1), [
          ['a', '1', 1n],
          ['b', '1', 1n],
        ]),
      );
      expect(folded(outcome)).toMatchObject({ applied: 1, setAside: 1 });
      await sql(database, 'DROP FUNCTION late CASCADE');
    });

    it('sets aside what the range of the balance column refuses', async () => {
      await withAccounts({ a: 0, b: 0 });
      await sql(database, "UPDATE accounts SET balance = 9223372036854775807 WHERE id = 'a'");
      const outcome = await table.fold(
        foldOf(startOf(1), [
          ['a', '1', 1n],
          ['b', '1', 1n],
        ]),
      );
      expect(folded(outcome)).toMatchObject({ applied: 1, setAside: 1 });
      expect((await states())['a/1']).toBe('set_aside: out_of_range');
    });

    it('adds sums beyond 64 bits where the result fits', async () => {
      await withAccounts({ a: 0 });
      const most = 2n ** 63n - 1n;
      await sql(database, 'UPDATE accounts SET balance = -9223372036854775807');
      const outcome = await table.fold(
        foldOf(startOf(1), [
          ['a', '1', most],
          ['a', '2', most],
        ]),
      );
      expect(folded(outcome)).toMatchObject({ applied: 2 });
      expect(await balances()).toEqual({ a: most.toString() });
      const [totals] = await table.foldTotals();
      expect(totals!.folded).toEqual({ count: 2n, sum: 2n * most });
      const { accounts } = await table.accountTotals({ limit: 10 });
      expect(accounts[0]).toMatchObject({ opening: -most, row: most, drift: 0n, ownApplied: { sum: 2n * most } });
    });

    it('gives up looking closer where nearly every account refuses', async () => {
      table = await freshDataTable(
        database,
        'CREATE TABLE accounts (id text PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0))',
      );
      await sql(database, "INSERT INTO accounts SELECT 'a' || g, 0 FROM generate_series(1, 1000) g");
      const rows: Row[] = Array.from({ length: 1000 }, (_, i) => [`a${i + 1}`, '1', -1n]);
      expect(folded(await table.fold(foldOf(startOf(1), rows)))).toMatchObject({ applied: 0, setAside: 1000 });
    });

    it('sets everything aside without touching a row, where it is told to', async () => {
      await withAccounts({ a: 0 });
      const outcome = await table.fold(foldOf(startOf(1), [['a', '1', 4n]], { setAsideAll: true }));
      expect(folded(outcome)).toMatchObject({ applied: 0, setAside: 1 });
      expect(await states()).toEqual({ 'a/1': 'set_aside: row_locked' });
      expect(await counted('a')).toBe(4n);
    });

    it('says that it is blocked, and sets nothing aside, where the table is gone', async () => {
      await withAccounts({ a: 0 });
      await sql(database, 'ALTER TABLE accounts RENAME TO elsewhere');
      expect((await table.fold(foldOf(startOf(1), [['a', '1', 1n]]))).outcome).toBe('blocked');
      expect(await table.watermarks()).toEqual([]);
      await sql(database, 'DROP TABLE elsewhere');
    });

    it('folds again what was folded, after a repair, and counts it once', async () => {
      await withAccounts({ a: 0, nobody: 0 });
      const request = foldOf(startOf(1), [
        ['a', '1', 1n],
        ['a', '1', 2n],
        ['a', '2', 3n],
      ]);
      folded(await table.fold(request));
      const newLog = 'ef'.repeat(16);
      await table.resetWatermark({ ...startOf(1, newLog), assignment: 7 }, NOTE);
      expect(await table.watermark(1)).toEqual({ ...startOf(1, newLog), assignment: 7 });
      const again = await table.fold({ ...request, assignment: 7, from: startOf(1, newLog) });
      expect(folded(again)).toMatchObject({ applied: 0, dropped: 2, conflicts: 1 });
      expect(await balances()).toMatchObject({ a: '4' });
      expect(await table.listConflicts({ limit: 10 })).toHaveLength(1);
      const totals = await table.foldTotals();
      expect(totals.map((row) => [row.watermark.logId, row.current, row.folded.count, row.dropped.count])).toEqual([
        [newLog, true, 0n, 2n],
        [LOG, false, 2n, 0n],
      ]);
      expect(await table.listOperatorActions(10)).toMatchObject([{ ...NOTE, action: 'reset_watermark' }]);
    });

    it('folds again after the database was set back to an earlier dump', async () => {
      await withAccounts({ a: 0 });
      const first = folded(await table.fold(foldOf(startOf(1), [['a', '1', 1n]])));
      const dump = `CREATE TABLE back_rows AS TABLE accounts; CREATE TABLE back_ledger AS TABLE spill.ledger;
        CREATE TABLE back_mark AS TABLE spill.watermark`;
      await sql(database, dump);
      const secondRequest = foldOf(first.watermark, [['a', '2', 2n]]);
      const second = folded(await table.fold(secondRequest));
      await sql(
        database,
        `TRUNCATE accounts, spill.ledger, spill.watermark;
         INSERT INTO accounts TABLE back_rows; INSERT INTO spill.ledger TABLE back_ledger;
         INSERT INTO spill.watermark TABLE back_mark; DROP TABLE back_rows, back_ledger, back_mark`,
      );
      const third = foldOf(second.watermark, [['a', '3', 4n]]);
      expect(await table.fold(third)).toEqual({ outcome: 'watermark_differs', watermark: first.watermark });
      folded(await table.fold(secondRequest));
      folded(await table.fold(third));
      expect(await balances()).toEqual({ a: '7' });
    });
  });

  describe('account texts', () => {
    const types = [
      ['int8', 'bigint', '7', ['07', '+7', ' 7', '7.0', 'x', '9223372036854775808']],
      ['int4', 'integer', '-3', ['-03', '2147483648', '-3 ']],
      [
        'uuid',
        'uuid',
        'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11',
        ['A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11', 'a0eebc999c0b4ef8bb6d6bb9bd380a11', 'nonsense'],
      ],
      ['varchar', 'varchar(20)', 'é', ['e\u0301', 'É']],
      ['text', 'text COLLATE "C"', 'Ab', ['ab', 'Ab ']],
    ] as const;
    it.each(types)('%s: only the canonical text meets the row', async (idType, column, canonical, others) => {
      table = await freshDataTable(
        database,
        `CREATE TABLE accounts (id ${column} PRIMARY KEY, balance bigint NOT NULL DEFAULT 0)`,
        { idType },
      );
      await sql(database, 'INSERT INTO accounts VALUES ($1, 0)', [canonical]);
      const rows: Row[] = [[canonical, '1', 5n], ...others.map((other): Row => [other, '1', 100n])];
      expect(folded(await table.fold(foldOf(startOf(1), rows)))).toMatchObject({
        applied: 1,
        setAside: others.length,
      });
      expect(await balances()).toEqual({ [canonical]: '5' });
      const read = await table.readBalances([canonical, others[0]], []);
      expect(read.accounts.map((row) => [row.row, row.setAside])).toEqual([
        [5n, 0n],
        [null, 100n],
      ]);
      expect((await table.direct(transaction(others[0], '2', 1n))).outcome).toBe('unavailable');
      expect((await table.direct(transaction(canonical, '2', 1n))).outcome).toBe('applied');
      expect(await table.retrySetAside({ dueOnly: false, limit: 100 })).toEqual({
        applied: 0,
        remaining: others.length,
      });
      expect(await balances()).toEqual({ [canonical]: '6' });
    });
  });

  describe('numeric balances', () => {
    const numeric = (type: string, minorUnits = 2) =>
      freshDataTable(database, `CREATE TABLE accounts (id text PRIMARY KEY, balance ${type} NOT NULL DEFAULT 0)`, {
        balanceType: 'numeric',
        minorUnits,
      });

    it('adds minor units exactly', async () => {
      table = await numeric('numeric(12,2)');
      await sql(database, "INSERT INTO accounts VALUES ('a', 0.10), ('b', -5)");
      const rows: Row[] = [
        ['a', '1', 20n],
        ['b', '1', -1n],
      ];
      folded(await table.fold(foldOf(startOf(1), rows)));
      expect(await balances()).toEqual({ a: '0.30', b: '-5.01' });
      const read = await table.readBalances(['a', 'b'], []);
      expect(read.accounts.map((row) => row.row)).toEqual([30n, -501n]);
      const { accounts } = await table.accountTotals({ limit: 10 });
      expect(accounts.map((row) => [row.opening, row.row, row.drift])).toEqual([
        [10n, 30n, 0n],
        [-500n, -501n, 0n],
      ]);
    });

    it('sets aside what overflows numeric(5,2)', async () => {
      table = await numeric('numeric(5,2)');
      await sql(database, "INSERT INTO accounts VALUES ('a', 999.99)");
      folded(await table.fold(foldOf(startOf(1), [['a', '1', 1n]])));
      expect(await states()).toEqual({ 'a/1': 'set_aside: out_of_range' });
    });

    it('says so where a balance is no whole number of minor units', async () => {
      table = await numeric('numeric', 2);
      await sql(database, "INSERT INTO accounts VALUES ('a', 1.005), ('n', 'NaN'), ('w', 1.500)");
      const { accounts } = await table.readBalances(['a', 'n', 'w'], []);
      expect(accounts.map((row) => row.row)).toEqual([null, null, 150n]);
      expect(accounts[0]!.rowProblem).toContain('no whole number of minor units: 100.5');
      expect(accounts[1]!.rowProblem).toContain('NaN');
      const outcome = folded(
        await table.fold(
          foldOf(startOf(1), [
            ['a', '1', 1n],
            ['n', '1', 1n],
          ]),
        ),
      );
      expect(outcome).toMatchObject({ applied: 1, setAside: 1 });
      expect(await balances()).toMatchObject({ a: '1.015', n: 'NaN' });
      expect((await table.accountTotals({ limit: 1 })).accounts[0]).toMatchObject({ opening: null, drift: 0n });
    });
  });

  describe('set aside', () => {
    it('is applied by a retry once the row is there, and stays once', async () => {
      await withAccounts({});
      folded(
        await table.fold(
          foldOf(startOf(1), [
            ['late', '1', 5n],
            ['late', '2', 2n],
            ['never', '1', 1n],
          ]),
        ),
      );
      expect(await table.dueSetAsideAccounts({ limit: 10 })).toEqual(['late', 'never']);
      expect(await table.dueSetAsideAccounts({ after: 'late', limit: 10 })).toEqual(['never']);
      await sql(database, "INSERT INTO accounts VALUES ('late', 100)");
      expect(await table.retrySetAside({ dueOnly: true, limit: 10 })).toEqual({ applied: 2, remaining: 1 });
      expect(await balances()).toEqual({ late: '107' });
      expect(await table.retrySetAside({ dueOnly: false, limit: 10 })).toEqual({ applied: 0, remaining: 1 });
      expect(await balances()).toEqual({ late: '107' });
      const { accounts } = await table.accountTotals({ accounts: ['late'], limit: 1 });
      expect(accounts[0]).toMatchObject({ opening: 100n, row: 107n, drift: 0n, setAside: { count: 0n, sum: 0n } });
    });

    it('backs off: a failed retry is due later, and only those asked for are tried', async () => {
      await withAccounts({});
      folded(
        await table.fold(
          foldOf(startOf(1), [
            ['m', '1', 1n],
            ['n', '1', 1n],
          ]),
        ),
      );
      await table.retrySetAside({ accounts: ['m'], dueOnly: true, limit: 10 });
      expect(await table.dueSetAsideAccounts({ limit: 10 })).toEqual(['n']);
      const aside = await table.listSetAside({ limit: 10 });
      expect(aside.map((row) => [row.account, row.attempts])).toEqual([
        ['m', 1],
        ['n', 0],
      ]);
      expect(aside[0]).toMatchObject({ amount: 1n, reason: 'row_missing', state: 'set_aside' });
      expect(aside[0]!.setAsideAt).toMatch(/^\d{4}-\d\d-\d\dT.*Z$/);
      expect(await table.listSetAside({ account: 'n', limit: 10 })).toHaveLength(1);
    });

    it('does not let one refused transaction hold back the others of its account', async () => {
      table = await freshDataTable(
        database,
        'CREATE TABLE accounts (id text PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0))',
      );
      await sql(database, "INSERT INTO accounts VALUES ('a', 0)");
      const rows: Row[] = [
        ['a', '1', 5n],
        ['a', '2', -1000n],
        ['a', '3', 7n],
      ];
      expect(folded(await table.fold(foldOf(startOf(1), rows)))).toMatchObject({ setAside: 3 });
      expect(await table.retrySetAside({ dueOnly: true, limit: 10 })).toEqual({ applied: 2, remaining: 1 });
      expect(await balances()).toEqual({ a: '12' });
      expect(await counted('a')).toBe(12n - 1000n);
    });

    it('can be moved: the row keeps its key, even where the other account has the same id', async () => {
      await withAccounts({ other: 10 });
      folded(
        await table.fold(
          foldOf(startOf(1), [
            ['gone', 'leg', -5n],
            ['other', 'leg', 5n],
          ]),
        ),
      );
      const moved = await table.moveSetAside(key('gone', 'leg'), 'other', NOTE);
      expect(moved).toMatchObject({ account: 'gone', id: 'leg', state: 'applied', appliedAccount: 'other' });
      expect(await balances()).toEqual({ other: '10' });
      expect(await counted('gone')).toBe(0n);
      const { accounts } = await table.accountTotals({ limit: 10 });
      expect(accounts).toMatchObject([
        { account: 'gone', movedOut: { count: 1n, sum: -5n }, setAside: { count: 0n, sum: 0n }, row: null },
        { account: 'other', movedIn: { count: 1n, sum: -5n }, ownApplied: { count: 1n, sum: 5n }, drift: 0n },
      ]);
      // The retry of the transaction is still known.
      expect(folded(await table.fold(foldOf(startOf(2), [['gone', 'leg', -5n]])))).toMatchObject({ dropped: 1 });
      await expect(table.moveSetAside(key('gone', 'leg'), 'other', NOTE)).rejects.toMatchObject({ code: 'conflict' });
      expect(await table.listOperatorActions(10)).toMatchObject([{ ...NOTE, action: 'move' }]);
    });

    it('is not moved to an account that is not there, is its own, or refuses', async () => {
      table = await freshDataTable(
        database,
        'CREATE TABLE accounts (id text PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0))',
      );
      await sql(database, "INSERT INTO accounts VALUES ('poor', 1)");
      folded(await table.fold(foldOf(startOf(1), [['gone', '1', -5n]])));
      for (const target of ['absent', 'gone', 'poor']) {
        await expect(table.moveSetAside(key('gone', '1'), target, NOTE)).rejects.toMatchObject({ code: 'conflict' });
      }
      await expect(table.moveSetAside(key('gone', '2'), 'poor', NOTE)).rejects.toMatchObject({ code: 'not_found' });
      expect(await states()).toEqual({ 'gone/1': 'set_aside: row_missing' });
      expect(await table.listOperatorActions(10)).toEqual([]);
    });

    it('can be written off: in no balance, a term of its own, its key kept', async () => {
      await withAccounts({});
      folded(await table.fold(foldOf(startOf(1), [['gone', '1', 5n]])));
      expect(await table.writeOff(key('gone', '1'), NOTE)).toMatchObject({ state: 'written_off' });
      expect(await counted('gone')).toBe(0n);
      const { accounts } = await table.accountTotals({ limit: 10 });
      expect(accounts[0]).toMatchObject({ writtenOff: { count: 1n, sum: 5n }, setAside: { count: 0n, sum: 0n } });
      await expect(table.writeOff(key('gone', '1'), NOTE)).rejects.toMatchObject({ code: 'conflict' });
      expect(folded(await table.fold(foldOf(startOf(2), [['gone', '1', 5n]])))).toMatchObject({ dropped: 1 });
      expect(await table.retrySetAside({ dueOnly: false, limit: 10 })).toEqual({ applied: 0, remaining: 0 });
      expect(await table.listOperatorActions(10)).toMatchObject([{ ...NOTE, action: 'write_off' }]);
    });
  });

  describe('direct path', () => {
    it('writes row, ledger and mark; a later fold of the id is dropped and clears the mark', async () => {
      await withAccounts({ a: 10 });
      expect(await table.direct(transaction('a', 'x', 5n))).toEqual({ outcome: 'applied' });
      expect((await table.readBalances(['a'], [])).accounts[0]).toMatchObject({ row: 15n, directIds: ['x'] });
      expect((await table.direct(transaction('a', 'x', 5n))).outcome).toBe('duplicate');
      expect(await table.direct(transaction('a', 'x', 6n))).toMatchObject({
        outcome: 'id_conflict',
        row: { amount: 5n, shard: null, sequence: null },
      });
      expect(folded(await table.fold(foldOf(startOf(1), [['a', 'x', 5n]])))).toMatchObject({ applied: 0, dropped: 1 });
      expect((await table.readBalances(['a'], [])).accounts[0]).toMatchObject({ row: 15n, directIds: [] });
    });

    it('finds what a fold wrote before', async () => {
      await withAccounts({ a: 0 });
      folded(await table.fold(foldOf(startOf(1), [['a', 'x', 5n]])));
      expect(await table.direct(transaction('a', 'x', 5n))).toMatchObject({
        outcome: 'duplicate',
        row: { shard: 1, sequence: 1 },
      });
      expect(await balances()).toEqual({ a: '5' });
    });

    it('finds what was set aside, also where the row is missing', async () => {
      await withAccounts({});
      folded(await table.fold(foldOf(startOf(1), [['gone', 'x', 5n]])));
      expect(await table.direct(transaction('gone', 'x', 5n))).toMatchObject({
        outcome: 'duplicate',
        row: { state: 'set_aside' },
      });
    });

    it('never rejects for the sake of the row: missing or refused is unavailable, and nothing is written', async () => {
      table = await freshDataTable(
        database,
        'CREATE TABLE accounts (id text PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0))',
      );
      await sql(database, "INSERT INTO accounts VALUES ('poor', 1)");
      expect(await table.direct(transaction('poor', 'x', -5n))).toMatchObject({ outcome: 'unavailable' });
      expect(await table.direct(transaction('absent', 'x', -5n))).toMatchObject({ outcome: 'unavailable' });
      expect(await table.ledger([key('poor', 'x'), key('absent', 'x')])).toEqual([null, null]);
      expect((await table.readBalances(['poor'], [])).accounts[0]).toMatchObject({ row: 1n, directIds: [] });
    });

    it('keeps marks until the watermarks that were reasoned from are reached', async () => {
      await withAccounts({ a: 0 });
      await table.direct(transaction('a', 'x', 5n));
      const { watermark } = folded(await table.fold(foldOf(startOf(1), [['a', 'y', 1n]])));
      const future = (Date.now() + 60_000) * 1000;
      const past = (Date.now() - 60_000) * 1000;
      expect(await table.clearDirectMarks(past, [watermark])).toBe(0);
      expect(await table.clearDirectMarks(future, [{ ...watermark, sequence: 2 }])).toBe(0);
      expect(await table.clearDirectMarks(future, [{ ...watermark, logId: 'cd'.repeat(16) }])).toBe(0);
      expect(await table.clearDirectMarks(future, [watermark])).toBe(1);
      expect((await table.readBalances(['a'], [])).accounts[0]!.directIds).toEqual([]);
    });
  });

  describe('reads', () => {
    it('reads balances and watermarks of one snapshot, in the order asked for', async () => {
      await withAccounts({ a: 1, b: 2 });
      const { watermark } = folded(
        await table.fold(
          foldOf(startOf(1), [
            ['b', '1', 5n],
            ['gone', '1', 3n],
          ]),
        ),
      );
      const snapshot = await table.readBalances(['gone', 'b', 'stranger', 'a'], [1, 2]);
      expect(snapshot.accounts).toEqual([
        { account: 'gone', row: null, rowProblem: null, setAside: 3n, directIds: [], known: true },
        { account: 'b', row: 7n, rowProblem: null, setAside: 0n, directIds: [], known: true },
        { account: 'stranger', row: null, rowProblem: null, setAside: 0n, directIds: [], known: false },
        { account: 'a', row: 1n, rowProblem: null, setAside: 0n, directIds: [], known: false },
      ]);
      expect(snapshot.watermarks).toEqual(
        new Map([
          [1, watermark],
          [2, null],
        ]),
      );
      expect(await table.readBalances([], [])).toEqual({ accounts: [], watermarks: new Map() });
    });

    it('retrieves pages by (timestamp, bytes of id)', async () => {
      await withAccounts({ a: 0 });
      const ids = ['b', 'a', 'é', 'z', '\u{1f600}', '\uffee'];
      const rows = ids.map((id): Row => ['a', id, 1n]);
      const request = foldOf(startOf(1), rows);
      const same = rows.map((_, i) => (i < 2 ? 10 : 20));
      const { watermark } = folded(await table.fold({ ...request, rows: { ...request.rows, timestamps: same } }));
      const first = await table.retrieve({ account: 'a', limit: 3 });
      expect(first.rows.map((row) => row.id)).toEqual(['a', 'b', 'z']);
      expect(first.watermarks).toEqual(new Map([[1, watermark]]));
      const next = await table.retrieve({ account: 'a', after: { timestamp: 20, id: 'z' }, limit: 10 });
      expect(next.rows.map((row) => row.id)).toEqual(['é', '\uffee', '\u{1f600}']);
      expect((await table.retrieve({ account: 'a', from: 10, to: 20, limit: 10 })).rows).toHaveLength(2);
      expect((await table.retrieve({ account: 'a', from: 11, limit: 10 })).rows).toHaveLength(4);
      expect((await table.retrieve({ account: 'a', state: 'set_aside', limit: 10 })).rows).toEqual([]);
      expect((await table.retrieve({ account: 'b', limit: 10 })).rows).toEqual([]);
    });

    it('keeps texts and timestamps to the byte and the microsecond', async () => {
      const account = 'ü'.repeat(64);
      await withAccounts({ [account]: 0 });
      const id = '\u{1f600}'.repeat(16);
      const request = foldOf(startOf(1), [[account, id, -(2n ** 63n) + 1n]]);
      const timestamps = [Number.MAX_SAFE_INTEGER];
      await table.fold({ ...request, rows: { ...request.rows, timestamps } });
      expect(await table.ledger([key(account, id), key('\u0000', 'x')])).toMatchObject([
        { account, id, amount: -(2n ** 63n) + 1n, timestamp: timestamps[0] },
        null,
      ]);
    });
  });

  describe('verify', () => {
    it('has all terms of an account, by pages, and shows drift apart', async () => {
      await withAccounts({ a: 10, b: 0, c: 7 });
      const one = folded(
        await table.fold(
          foldOf(startOf(1), [
            ['a', '1', 5n],
            ['b', '1', 3n],
            ['gone', '1', 9n],
          ]),
        ),
      );
      folded(
        await table.fold(
          foldOf(startOf(2), [
            ['a', '1', 6n],
            ['b', '1', 3n],
          ]),
        ),
      );
      await table.direct(transaction('a', 'd', 100n));
      await sql(database, "UPDATE accounts SET balance = balance + 1000 WHERE id = 'b'");

      const first = await table.accountTotals({ limit: 2 });
      const second = await table.accountTotals({ after: first.accounts.at(-1)!.account, limit: 2 });
      expect([...first.accounts, ...second.accounts]).toMatchObject([
        {
          account: 'a',
          opening: 10n,
          row: 115n,
          ownApplied: { count: 2n, sum: 105n },
          direct: { count: 1n, sum: 100n },
          conflicts: { count: 1n, sum: 6n },
          drift: 0n,
        },
        { account: 'b', opening: 0n, row: 1003n, ownApplied: { count: 1n, sum: 3n }, drift: 1000n },
        { account: 'gone', opening: null, row: null, setAside: { count: 1n, sum: 9n }, drift: null },
      ]);
      expect(first.watermarks.get(1)).toEqual(one.watermark);
      expect((await table.accountTotals({ after: 'gone', limit: 2 })).accounts).toEqual([]);
    });

    it('counts folds and ledger alike, a log a row', async () => {
      await withAccounts({ a: 0 });
      const { watermark } = folded(
        await table.fold(
          foldOf(startOf(1), [
            ['a', '1', 5n],
            ['a', '2', -1n],
          ]),
        ),
      );
      folded(
        await table.fold(
          foldOf(watermark, [
            ['a', '2', -1n],
            ['a', '1', 7n],
            ['x', '3', 2n],
          ]),
        ),
      );
      await table.direct(transaction('a', 'd', 9n));
      expect(await table.foldTotals()).toMatchObject([
        {
          current: true,
          baseSequence: 0,
          folded: { count: 3n, sum: 6n },
          dropped: { count: 1n, sum: -1n },
          conflicts: { count: 1n, sum: 7n },
        },
      ]);
      expect(await table.ledgerTotals()).toEqual([
        { shard: null, logId: null, rows: { count: 1n, sum: 9n }, firstSequence: null, lastSequence: null },
        { shard: 1, logId: LOG, rows: { count: 3n, sum: 6n }, firstSequence: 1, lastSequence: 2 },
      ]);
    });

    it('reads the ledger of a range of a log by pages', async () => {
      await withAccounts({ a: 0 });
      let from = startOf(1);
      for (let record = 0; record < 3; record += 1) {
        const rows: Row[] = [0, 1].map((i) => ['a', `${record}-${i}`, 1n]);
        from = folded(await table.fold(foldOf(from, rows))).watermark;
      }
      const range = { shard: 1, logId: LOG, fromSequence: 2, toSequence: 3 };
      const page = await table.ledgerOfLog({ ...range, limit: 3 });
      expect(page.map((row) => [row.sequence, row.index, row.id])).toEqual([
        [2, 0, '1-0'],
        [2, 1, '1-1'],
        [3, 0, '2-0'],
      ]);
      const rest = await table.ledgerOfLog({ ...range, after: page.at(-1)!, limit: 3 });
      expect(rest.map((row) => row.id)).toEqual(['2-1']);
      folded(await table.fold(foldOf(from, [['a', '0-0', 2n]])));
      expect(await table.conflictsOfLog({ ...range, toSequence: 4 })).toMatchObject([{ sequence: 4, amount: 2n }]);
      expect(await table.conflictsOfLog(range)).toEqual([]);
    });
  });

  describe('schema', () => {
    it('is planned, applied once, checked; twice does no harm', async () => {
      await sql(database, 'DROP SCHEMA IF EXISTS spill CASCADE; DROP TABLE IF EXISTS accounts CASCADE');
      table = openDataTable(database);
      expect(await table.checkSchema()).toEqual([
        expect.stringContaining('table accounts does not exist'),
        expect.stringContaining('run `spill schema apply`'),
      ]);
      await expect(table.applySchema()).rejects.toThrow(DataTableSchemaError);
      await sql(database, 'CREATE TABLE accounts (id text PRIMARY KEY, balance bigint NOT NULL DEFAULT 0)');
      await expect(table.watermarks()).rejects.toThrow(DataTableSchemaError);
      const plan = await table.planSchema();
      expect(plan[0]!.sql).toContain('CREATE TABLE spill.ledger');
      expect(plan.map((statement) => statement.sql).join('\n')).toMatch(/GRANT SELECT, UPDATE ON "accounts" TO/);
      await Promise.all([table.applySchema(), table.applySchema()]);
      expect(await table.checkSchema()).toEqual([]);
      expect(await table.planSchema()).toEqual([]);
      await table.applySchema();
      await sql(database, "INSERT INTO spill.schema_version (version, name) VALUES (99, 'later')");
      expect(await table.checkSchema()).toEqual([expect.stringContaining('use a newer spill')]);
    });

    it.each([
      ['id text, balance bigint', {}, 'neither primary key nor unique'],
      ['id bigint PRIMARY KEY, balance bigint', {}, 'set table.id_type to int8'],
      ['id char(8) PRIMARY KEY, balance bigint', {}, 'must be text, varchar'],
      ['id text PRIMARY KEY, balance integer', {}, 'must be int8 (bigint) or numeric'],
      ['id text PRIMARY KEY, balance money', {}, 'must be int8 (bigint) or numeric'],
      ['id text PRIMARY KEY, balance numeric(10,2)', {}, 'set table.balance_type to numeric'],
      ['id text PRIMARY KEY, balance numeric(10,1)', { balanceType: 'numeric', minorUnits: 2 }, 'would be rounded'],
      ['id text PRIMARY KEY, balance bigint', { minorUnits: 2 }, 'set it to 0'],
      ['id text PRIMARY KEY, credit bigint', {}, 'has no column balance'],
      ['key text PRIMARY KEY, balance bigint', {}, 'has no column id'],
      ['id text PRIMARY KEY, n int, balance bigint GENERATED ALWAYS AS (n) STORED', {}, 'generated column'],
    ] as const)('refuses (%s)', async (columns, mapping, problem) => {
      await sql(
        database,
        `DROP SCHEMA IF EXISTS spill CASCADE; DROP TABLE IF EXISTS accounts CASCADE; CREATE TABLE accounts (${columns})`,
      );
      table = openDataTable(database, mapping);
      await expect(table.applySchema()).rejects.toThrow(problem);
      expect((await table.checkSchema()).join('\n')).toContain(problem);
    });
  });

  describe('a connection that breaks', () => {
    let proxy: DatabaseProxy;

    async function throughProxy(statementMsMax?: number) {
      await withAccounts({ a: 0 });
      await table.close();
      proxy = await startDatabaseProxy(
        database.postgres === null
          ? { path: `${database.connection.host}/.s.PGSQL.5432` }
          : { host: '127.0.0.1', port: database.postgres.port },
      );
      const url = database.connection.connectionString?.replace(/:\d+\//, `:${proxy.port}/`);
      const connection =
        url === undefined ? { ...database.connection, host: '127.0.0.1', port: proxy.port } : { connectionString: url };
      table = openDataTable(database, {}, { connection, ...(statementMsMax === undefined ? {} : { statementMsMax }) });
    }
    afterEach(async () => {
      await proxy?.stop();
    });

    it('between COMMIT and its answer: unknown; the same fold again finds that it was folded', async () => {
      await throughProxy();
      const request = foldOf(startOf(1), [['a', '1', 5n]]);
      proxy.cutAt('COMMIT\u0000', 'answer');
      await expect(table.fold(request)).rejects.toThrow(DataTableUnavailableError);
      expect(await table.fold(request)).toMatchObject({ outcome: 'watermark_differs', watermark: { sequence: 1 } });
      expect(await balances()).toEqual({ a: '5' });
    });

    it('before COMMIT: the same fold again folds it, once', async () => {
      await throughProxy();
      const request = foldOf(startOf(1), [['a', '1', 5n]]);
      proxy.cutAt('COMMIT\u0000', 'request');
      await expect(table.fold(request)).rejects.toThrow(DataTableUnavailableError);
      // The server may still be busy ending the session that was cut off.
      await expect.poll(async () => (await table.fold(request)).outcome).toBe('folded');
      expect(await balances()).toEqual({ a: '5' });
    });

    it('in the middle of a fold: nothing of it stays', async () => {
      await throughProxy();
      const request = foldOf(startOf(1), [['a', '1', 5n]]);
      proxy.cutAt('UPDATE "accounts"', 'answer');
      await expect(table.fold(request)).rejects.toThrow(DataTableUnavailableError);
      await expect.poll(async () => (await table.fold(request)).outcome).toBe('folded');
      expect(await balances()).toEqual({ a: '5' });
    });

    it('at the direct path between COMMIT and its answer: the same transaction again is a duplicate', async () => {
      await throughProxy();
      proxy.cutAt('COMMIT\u0000', 'answer');
      await expect(table.direct(transaction('a', '1', 5n))).rejects.toThrow(DataTableUnavailableError);
      expect((await table.direct(transaction('a', '1', 5n))).outcome).toBe('duplicate');
      expect(await balances()).toEqual({ a: '5' });
    });
  });
});

function key(account: string, id: string) {
  return { account, id };
}
