import { describe, expect, it } from 'vitest';
import { folded, foldOf, freshDataTable, type Row, sql, startOf } from '../../support/data-table-fixture.js';
import { key, NOTE, type Workbench } from './workbench.js';

/** Set aside: retried, moved, written off. */
export function setAsideCases(b: Workbench): void {
  describe('set aside', () => {
    it('is applied by a retry once the row is there, and stays once', async () => {
      await b.withAccounts({});
      folded(
        await b.table.fold(
          foldOf(startOf(1), [
            ['late', '1', 5n],
            ['late', '2', 2n],
            ['never', '1', 1n],
          ]),
        ),
      );
      expect(await b.table.dueSetAsideAccounts({ limit: 10 })).toEqual(['late', 'never']);
      expect(await b.table.dueSetAsideAccounts({ after: 'late', limit: 10 })).toEqual(['never']);
      await sql(b.database, "INSERT INTO accounts VALUES ('late', 100)");
      expect(await b.table.retrySetAside({ dueOnly: true, limit: 10 })).toEqual({ applied: 2, remaining: 1 });
      expect(await b.balances()).toEqual({ late: '107' });
      expect(await b.table.retrySetAside({ dueOnly: false, limit: 10 })).toEqual({ applied: 0, remaining: 1 });
      expect(await b.balances()).toEqual({ late: '107' });
      const { accounts } = await b.table.accountTotals({ accounts: ['late'], limit: 1 });
      expect(accounts[0]).toMatchObject({ opening: 100n, row: 107n, drift: 0n, setAside: { count: 0n, sum: 0n } });
    });

    it('backs off: a failed retry is due later, and only those asked for are tried', async () => {
      await b.withAccounts({});
      folded(
        await b.table.fold(
          foldOf(startOf(1), [
            ['m', '1', 1n],
            ['n', '1', 1n],
          ]),
        ),
      );
      await b.table.retrySetAside({ accounts: ['m'], dueOnly: true, limit: 10 });
      expect(await b.table.dueSetAsideAccounts({ limit: 10 })).toEqual(['n']);
      const aside = await b.table.listSetAside({ limit: 10 });
      expect(aside.map((row) => [row.account, row.attempts])).toEqual([
        ['m', 1],
        ['n', 0],
      ]);
      expect(aside[0]).toMatchObject({ amount: 1n, reason: 'row_missing', state: 'set_aside' });
      expect(aside[0]!.setAsideAt).toMatch(/^\d{4}-\d\d-\d\dT.*Z$/);
      expect(await b.table.listSetAside({ account: 'n', limit: 10 })).toHaveLength(1);
    });

    it('does not let one refused transaction hold back the others of its account', async () => {
      b.table = await freshDataTable(
        b.database,
        'CREATE TABLE accounts (id text PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0))',
      );
      await sql(b.database, "INSERT INTO accounts VALUES ('a', 0)");
      const rows: Row[] = [
        ['a', '1', 5n],
        ['a', '2', -1000n],
        ['a', '3', 7n],
      ];
      expect(folded(await b.table.fold(foldOf(startOf(1), rows)))).toMatchObject({ setAside: 3 });
      expect(await b.table.retrySetAside({ dueOnly: true, limit: 10 })).toEqual({ applied: 2, remaining: 1 });
      expect(await b.balances()).toEqual({ a: '12' });
      expect(await b.counted('a')).toBe(12n - 1000n);
    });

    it('can be moved: the row keeps its key, even where the other account has the same id', async () => {
      await b.withAccounts({ other: 10 });
      folded(
        await b.table.fold(
          foldOf(startOf(1), [
            ['gone', 'leg', -5n],
            ['other', 'leg', 5n],
          ]),
        ),
      );
      const moved = await b.table.moveSetAside(key('gone', 'leg'), 'other', NOTE);
      expect(moved).toMatchObject({ account: 'gone', id: 'leg', state: 'applied', appliedAccount: 'other' });
      expect(await b.balances()).toEqual({ other: '10' });
      expect(await b.counted('gone')).toBe(0n);
      const { accounts } = await b.table.accountTotals({ limit: 10 });
      expect(accounts).toMatchObject([
        { account: 'gone', movedOut: { count: 1n, sum: -5n }, setAside: { count: 0n, sum: 0n }, row: null },
        { account: 'other', movedIn: { count: 1n, sum: -5n }, ownApplied: { count: 1n, sum: 5n }, drift: 0n },
      ]);
      // The retry of the transaction is still known.
      expect(folded(await b.table.fold(foldOf(startOf(2), [['gone', 'leg', -5n]])))).toMatchObject({ dropped: 1 });
      await expect(b.table.moveSetAside(key('gone', 'leg'), 'other', NOTE)).rejects.toMatchObject({ code: 'conflict' });
      expect(await b.table.listOperatorActions(10)).toMatchObject([{ ...NOTE, action: 'move' }]);
    });

    it('is not moved to an account that is not there, is its own, or refuses', async () => {
      b.table = await freshDataTable(
        b.database,
        'CREATE TABLE accounts (id text PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0))',
      );
      await sql(b.database, "INSERT INTO accounts VALUES ('poor', 1)");
      folded(await b.table.fold(foldOf(startOf(1), [['gone', '1', -5n]])));
      for (const target of ['absent', 'gone', 'poor']) {
        await expect(b.table.moveSetAside(key('gone', '1'), target, NOTE)).rejects.toMatchObject({ code: 'conflict' });
      }
      await expect(b.table.moveSetAside(key('gone', '2'), 'poor', NOTE)).rejects.toMatchObject({ code: 'not_found' });
      expect(await b.states()).toEqual({ 'gone/1': 'set_aside: row_missing' });
      expect(await b.table.listOperatorActions(10)).toEqual([]);
    });

    it('can be written off: in no balance, a term of its own, its key kept', async () => {
      await b.withAccounts({});
      folded(await b.table.fold(foldOf(startOf(1), [['gone', '1', 5n]])));
      expect(await b.table.writeOff(key('gone', '1'), NOTE)).toMatchObject({ state: 'written_off' });
      expect(await b.counted('gone')).toBe(0n);
      const { accounts } = await b.table.accountTotals({ limit: 10 });
      expect(accounts[0]).toMatchObject({ writtenOff: { count: 1n, sum: 5n }, setAside: { count: 0n, sum: 0n } });
      await expect(b.table.writeOff(key('gone', '1'), NOTE)).rejects.toMatchObject({ code: 'conflict' });
      expect(folded(await b.table.fold(foldOf(startOf(2), [['gone', '1', 5n]])))).toMatchObject({ dropped: 1 });
      expect(await b.table.retrySetAside({ dueOnly: false, limit: 10 })).toEqual({ applied: 0, remaining: 0 });
      expect(await b.table.listOperatorActions(10)).toMatchObject([{ ...NOTE, action: 'write_off' }]);
    });
  });
}
