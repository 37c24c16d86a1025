import { describe, expect, it } from 'vitest';
import { folded, foldOf, freshDataTable, type Row, sql, startOf } from '../../support/data-table-fixture.js';
import type { Workbench } from './workbench.js';

/** Fold: what a row or the table refuses, and whom it concerns. */
export function foldRefusalsCases(b: Workbench): void {
  describe('fold, what a row or the table refuses', () => {
    it('sets aside an unknown account without stopping for it', async () => {
      await b.withAccounts({ a: 0 });
      const outcome = folded(
        await b.table.fold(
          foldOf(startOf(1), [
            ['nobody', '1', 5n],
            ['a', '1', 1n],
            ['nobody', '2', 2n],
          ]),
        ),
      );
      expect(outcome).toMatchObject({ applied: 1, setAside: 2 });
      expect(outcome.watermark.sequence).toBe(1);
      expect(await b.states()).toEqual({
        'a/1': 'applied',
        'nobody/1': 'set_aside: row_missing',
        'nobody/2': 'set_aside: row_missing',
      });
      expect(await b.counted('nobody')).toBe(7n);
    });

    it('creates unknown accounts with balance 0 first, where it is told to', async () => {
      b.table = await freshDataTable(b.database, undefined, { createAccounts: true });
      const outcome = folded(
        await b.table.fold(
          foldOf(startOf(1), [
            ['new2', '1', 5n],
            ['new1', '1', -1n],
          ]),
        ),
      );
      expect(outcome).toMatchObject({ applied: 2, setAside: 0 });
      expect(await b.balances()).toEqual({ new1: '-1', new2: '5' });
      const { accounts } = await b.table.accountTotals({ limit: 10 });
      expect(accounts.map((row) => [row.account, row.opening, row.drift])).toEqual([
        ['new1', 0n, 0n],
        ['new2', 0n, 0n],
      ]);
    });

    it('sets aside those accounts that can not be created, and creates the others', async () => {
      b.table = await freshDataTable(
        b.database,
        "CREATE TABLE accounts (id text PRIMARY KEY CHECK (id NOT LIKE 'bad%'), balance bigint NOT NULL)",
        { createAccounts: true },
      );
      const rows: Row[] = Array.from({ length: 20 }, (_, i) => [i % 7 === 3 ? `bad${i}` : `ok${i}`, '1', 1n]);
      expect(folded(await b.table.fold(foldOf(startOf(1), rows)))).toMatchObject({ applied: 17, setAside: 3 });
      expect((await b.states())['bad3/1']).toBe('set_aside: constraint');
      expect(Object.keys(await b.balances())).toHaveLength(17);
    });

    it('narrows a check constraint down to the accounts that break it', async () => {
      b.table = await freshDataTable(
        b.database,
        'CREATE TABLE accounts (id text PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0))',
      );
      await sql(b.database, "INSERT INTO accounts SELECT 'a' || g, 10 FROM generate_series(0, 39) g");
      const rows: Row[] = Array.from({ length: 40 }, (_, i) => [`a${i}`, '1', i % 13 === 5 ? -11n : -10n]);
      expect(folded(await b.table.fold(foldOf(startOf(1), rows)))).toMatchObject({ applied: 37, setAside: 3 });
      const after = await b.balances();
      expect([after.a5, after.a18, after.a31, after.a4]).toEqual(['10', '10', '10', '0']);
      expect((await b.states())['a18/1']).toBe('set_aside: constraint');
      const aside = await b.table.listSetAside({ limit: 10 });
      expect(aside[0]!.detail).toContain('23514');
    });

    it('finds the one account whose trigger raises', async () => {
      await b.withAccounts({});
      await sql(
        b.database,
        `INSERT INTO accounts SELECT 'a' || g, 0 FROM generate_series(0, 99) g;
         CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN IF NEW.id = 'a77' THEN RAISE EXCEPTION 'not this one'; END IF; RETURN NEW; END $$;
         CREATE TRIGGER refuse BEFORE UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION refuse()`,
      );
      const rows: Row[] = Array.from({ length: 100 }, (_, i) => [`a${i}`, '1', 1n]);
      expect(folded(await b.table.fold(foldOf(startOf(1), rows)))).toMatchObject({ applied: 99, setAside: 1 });
      expect((await b.states())['a77/1']).toBe('set_aside: constraint');
      expect((await b.table.listSetAside({ limit: 1 }))[0]!.detail).toContain('not this one');
      await sql(b.database, 'DROP FUNCTION refuse CASCADE');
    });

    it('does not count as applied what a trigger kept from the row', async () => {
      await b.withAccounts({ a: 0, b: 0 });
      await sql(
        b.database,
        `CREATE FUNCTION ignore() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN IF NEW.id = 'a' THEN RETURN NULL; END IF; RETURN NEW; END $$;
         CREATE TRIGGER ignore BEFORE UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION ignore()`,
      );
      const outcome = await b.table.fold(
        foldOf(startOf(1), [
          ['a', '1', 1n],
          ['b', '1', 1n],
        ]),
      );
      expect(folded(outcome)).toMatchObject({ applied: 1, setAside: 1 });
      expect(await b.balances()).toEqual({ a: '0', b: '1' });
      await sql(b.database, 'DROP FUNCTION ignore CASCADE');
    });

    it('sets aside for a row whose balance is NULL', async () => {
      b.table = await freshDataTable(b.database, 'CREATE TABLE accounts (id text PRIMARY KEY, balance bigint)');
      await sql(b.database, "INSERT INTO accounts VALUES ('a', NULL), ('b', 0)");
      const outcome = await b.table.fold(
        foldOf(startOf(1), [
          ['a', '1', 1n],
          ['b', '1', 1n],
        ]),
      );
      expect(folded(outcome)).toMatchObject({ applied: 1, setAside: 1 });
      const { accounts } = await b.table.readBalances(['a'], []);
      expect(accounts[0]).toMatchObject({ row: null, rowProblem: 'the balance is NULL', setAside: 1n });
    });

    it('refuses a deferred constraint in its own statement and not at COMMIT', async () => {
      await b.withAccounts({ a: 0, b: 0 });
      await sql(
        b.database,
        `CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS $$
           BEGIN IF NEW.id = 'a' THEN RAISE EXCEPTION 'late'; END IF; RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER late AFTER UPDATE ON accounts DEFERRABLE INITIALLY DEFERRED
           FOR EACH ROW EXECUTE FUNCTION late()`,
      );
      const outcome = await b.table.fold(
        foldOf(startOf(1), [
          ['a', '1', 1n],
          ['b', '1', 1n],
        ]),
      );
      expect(folded(outcome)).toMatchObject({ applied: 1, setAside: 1 });
      await sql(b.database, 'DROP FUNCTION late CASCADE');
    });

    it('sets aside what the range of the balance column refuses', async () => {
      await b.withAccounts({ a: 0, b: 0 });
      await sql(b.database, "UPDATE accounts SET balance = 9223372036854775807 WHERE id = 'a'");
      const outcome = await b.table.fold(
        foldOf(startOf(1), [
          ['a', '1', 1n],
          ['b', '1', 1n],
        ]),
      );
      expect(folded(outcome)).toMatchObject({ applied: 1, setAside: 1 });
      expect((await b.states())['a/1']).toBe('set_aside: out_of_range');
    });

    it('adds sums beyond 64 bits where the result fits', async () => {
      await b.withAccounts({ a: 0 });
      const most = 2n ** 63n - 1n;
      await sql(b.database, 'UPDATE accounts SET balance = -9223372036854775807');
      const outcome = await b.table.fold(
        foldOf(startOf(1), [
          ['a', '1', most],
          ['a', '2', most],
        ]),
      );
      expect(folded(outcome)).toMatchObject({ applied: 2 });
      expect(await b.balances()).toEqual({ a: most.toString() });
      const [totals] = await b.table.foldTotals();
      expect(totals!.folded).toEqual({ count: 2n, sum: 2n * most });
      const { accounts } = await b.table.accountTotals({ limit: 10 });
      expect(accounts[0]).toMatchObject({ opening: -most, row: most, drift: 0n, ownApplied: { sum: 2n * most } });
    });

    it('gives up looking closer where nearly every account refuses', async () => {
      b.table = await freshDataTable(
        b.database,
        'CREATE TABLE accounts (id text PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0))',
      );
      await sql(b.database, "INSERT INTO accounts SELECT 'a' || g, 0 FROM generate_series(1, 1000) g");
      const rows: Row[] = Array.from({ length: 1000 }, (_, i) => [`a${i + 1}`, '1', -1n]);
      expect(folded(await b.table.fold(foldOf(startOf(1), rows)))).toMatchObject({ applied: 0, setAside: 1000 });
    });

    it('looks closer the more often the larger the fold is: 200 that refuse set none of 20,000 aside with them', async () => {
      b.table = await freshDataTable(
        b.database,
        'CREATE TABLE accounts (id text PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0))',
      );
      await sql(b.database, "INSERT INTO accounts SELECT 'a' || g, 0 FROM generate_series(1, 20000) g");
      const rows: Row[] = Array.from({ length: 20_000 }, (_, i) => [`a${i + 1}`, '1', i % 100 === 0 ? -1n : 1n]);
      expect(folded(await b.table.fold(foldOf(startOf(1), rows)))).toMatchObject({ applied: 19_800, setAside: 200 });
    });

    it('sets everything aside without touching a row, where it is told to', async () => {
      await b.withAccounts({ a: 0 });
      const outcome = await b.table.fold(foldOf(startOf(1), [['a', '1', 4n]], { setAsideAll: true }));
      expect(folded(outcome)).toMatchObject({ applied: 0, setAside: 1 });
      expect(await b.states()).toEqual({ 'a/1': 'set_aside: row_locked' });
      expect(await b.counted('a')).toBe(4n);
    });

    it('says that it is blocked, and sets nothing aside, where the table is gone', async () => {
      await b.withAccounts({ a: 0 });
      await sql(b.database, 'ALTER TABLE accounts RENAME TO elsewhere');
      expect((await b.table.fold(foldOf(startOf(1), [['a', '1', 1n]]))).outcome).toBe('blocked');
      expect(await b.table.watermarks()).toEqual([]);
      await sql(b.database, 'DROP TABLE elsewhere');
    });
  });
}
