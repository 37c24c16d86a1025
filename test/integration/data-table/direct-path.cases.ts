import { describe, expect, it } from 'vitest';
import {
  anyLedger,
  folded,
  foldOf,
  freshDataTable,
  sql,
  startOf,
  transaction,
} from '../../support/data-table-fixture.js';
import { key, type Workbench } from './workbench.js';

/** The direct path and the folds that meet its ids. */
export function directPathCases(b: Workbench): void {
  describe('direct path', () => {
    it('writes row, ledger and mark; a later fold of the id is dropped and clears the mark', async () => {
      await b.withAccounts({ a: 10 });
      expect(await b.table.direct(transaction('a', 'x', 5n), anyLedger)).toEqual({ outcome: 'applied' });
      expect((await b.table.readBalances(['a'], [])).accounts[0]).toMatchObject({ row: 15n, directIds: ['x'] });
      expect((await b.table.direct(transaction('a', 'x', 5n), anyLedger)).outcome).toBe('duplicate');
      expect(await b.table.direct(transaction('a', 'x', 6n), anyLedger)).toMatchObject({
        outcome: 'id_conflict',
        row: { amount: 5n, shard: null, sequence: null },
      });
      expect(folded(await b.table.fold(foldOf(startOf(1), [['a', 'x', 5n]])))).toMatchObject({
        applied: 0,
        dropped: 1,
      });
      expect((await b.table.readBalances(['a'], [])).accounts[0]).toMatchObject({ row: 15n, directIds: [] });
    });

    it('finds what a fold wrote before', async () => {
      await b.withAccounts({ a: 0 });
      folded(await b.table.fold(foldOf(startOf(1), [['a', 'x', 5n]])));
      expect(await b.table.direct(transaction('a', 'x', 5n), anyLedger)).toMatchObject({
        outcome: 'duplicate',
        row: { shard: 1, sequence: 1 },
      });
      expect(await b.balances()).toEqual({ a: '5' });
    });

    it('finds what was set aside, also where the row is missing', async () => {
      await b.withAccounts({});
      folded(await b.table.fold(foldOf(startOf(1), [['gone', 'x', 5n]])));
      expect(await b.table.direct(transaction('gone', 'x', 5n), anyLedger)).toMatchObject({
        outcome: 'duplicate',
        row: { state: 'set_aside' },
      });
    });

    it('never rejects for the sake of the row: missing or refused is unavailable, and nothing is written', async () => {
      b.table = await freshDataTable(
        b.database,
        'CREATE TABLE accounts (id text PRIMARY KEY, balance bigint NOT NULL CHECK (balance >= 0))',
      );
      await sql(b.database, "INSERT INTO accounts VALUES ('poor', 1)");
      expect(await b.table.direct(transaction('poor', 'x', -5n), anyLedger)).toMatchObject({ outcome: 'unavailable' });
      expect(await b.table.direct(transaction('absent', 'x', -5n), anyLedger)).toMatchObject({
        outcome: 'unavailable',
      });
      expect(await b.table.ledger([key('poor', 'x'), key('absent', 'x')])).toEqual([null, null]);
      expect((await b.table.readBalances(['poor'], [])).accounts[0]).toMatchObject({ row: 1n, directIds: [] });
    });

    it('writes into no ledger that is not known: it would not find what the one before holds', async () => {
      await b.withAccounts({ a: 0 });
      folded(await b.table.fold(foldOf(startOf(1), [['a', 'x', 5n]])));
      const { ledgerId } = await b.table.ledgerOf(1);
      await sql(b.database, 'DROP SCHEMA spill CASCADE');
      await b.table.applySchema();
      const asked: string[] = [];
      const isLedger = (id: string): boolean => {
        asked.push(id);
        return id === ledgerId;
      };
      expect(await b.table.direct(transaction('a', 'x', 5n), isLedger)).toMatchObject({ outcome: 'unavailable' });
      expect(asked).toEqual([(await b.table.ledgerOf(1)).ledgerId]);
      expect(await b.balances()).toEqual({ a: '5' });
    });

    it('keeps marks until the watermarks that were reasoned from are reached', async () => {
      await b.withAccounts({ a: 0 });
      await b.table.direct(transaction('a', 'x', 5n), anyLedger);
      const { watermark } = folded(await b.table.fold(foldOf(startOf(1), [['a', 'y', 1n]])));
      const future = (Date.now() + 60_000) * 1000;
      const past = (Date.now() - 60_000) * 1000;
      expect(await b.table.clearDirectMarks(past, [watermark])).toBe(0);
      expect(await b.table.clearDirectMarks(future, [{ ...watermark, sequence: 2 }])).toBe(0);
      expect(await b.table.clearDirectMarks(future, [{ ...watermark, logId: 'cd'.repeat(16) }])).toBe(0);
      expect(await b.table.clearDirectMarks(future, [watermark])).toBe(1);
      expect((await b.table.readBalances(['a'], [])).accounts[0]!.directIds).toEqual([]);
    });
  });
}
