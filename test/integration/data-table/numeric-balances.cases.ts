import { describe, expect, it } from 'vitest';
import { folded, foldOf, freshDataTable, type Row, sql, startOf } from '../../support/data-table-fixture.js';
import type { Workbench } from './workbench.js';

/** Balances in a numeric column. */
export function numericBalancesCases(b: Workbench): void {
  describe('numeric balances', () => {
    const numeric = (type: string, minorUnits = 2) =>
      freshDataTable(b.database, `CREATE TABLE accounts (id text PRIMARY KEY, balance ${type} NOT NULL DEFAULT 0)`, {
        balanceType: 'numeric',
        minorUnits,
      });

    it('adds minor units exactly', async () => {
      b.table = await numeric('numeric(12,2)');
      await sql(b.database, "INSERT INTO accounts VALUES ('a', 0.10), ('b', -5)");
      const rows: Row[] = [
        ['a', '1', 20n],
        ['b', '1', -1n],
      ];
      folded(await b.table.fold(foldOf(startOf(1), rows)));
      expect(await b.balances()).toEqual({ a: '0.30', b: '-5.01' });
      const read = await b.table.readBalances(['a', 'b'], []);
      expect(read.accounts.map((row) => row.row)).toEqual([30n, -501n]);
      const { accounts } = await b.table.accountTotals({ limit: 10 });
      expect(accounts.map((row) => [row.opening, row.row, row.drift])).toEqual([
        [10n, 30n, 0n],
        [-500n, -501n, 0n],
      ]);
    });

    it('sets aside what overflows numeric(5,2)', async () => {
      b.table = await numeric('numeric(5,2)');
      await sql(b.database, "INSERT INTO accounts VALUES ('a', 999.99)");
      folded(await b.table.fold(foldOf(startOf(1), [['a', '1', 1n]])));
      expect(await b.states()).toEqual({ 'a/1': 'set_aside: out_of_range' });
    });

    it('says so where a balance is no whole number of minor units', async () => {
      b.table = await numeric('numeric', 2);
      await sql(b.database, "INSERT INTO accounts VALUES ('a', 1.005), ('n', 'NaN'), ('w', 1.500)");
      const { accounts } = await b.table.readBalances(['a', 'n', 'w'], []);
      expect(accounts.map((row) => row.row)).toEqual([null, null, 150n]);
      expect(accounts[0]!.rowProblem).toContain('no whole number of minor units: 100.5');
      expect(accounts[1]!.rowProblem).toContain('NaN');
      const outcome = folded(
        await b.table.fold(
          foldOf(startOf(1), [
            ['a', '1', 1n],
            ['n', '1', 1n],
          ]),
        ),
      );
      expect(outcome).toMatchObject({ applied: 1, setAside: 1 });
      expect(await b.balances()).toMatchObject({ a: '1.015', n: 'NaN' });
      expect((await b.table.accountTotals({ limit: 1 })).accounts[0]).toMatchObject({ opening: null, drift: 0n });
    });
  });
}
