import { describe, expect, it } from 'vitest';
import {
  anyLedger,
  folded,
  foldOf,
  LOG,
  type Row,
  sql,
  startOf,
  transaction,
} from '../../support/data-table-fixture.js';
import type { Workbench } from './workbench.js';

/** What a verifier reads. */
export function verifyCases(b: Workbench): void {
  describe('verify', () => {
    it('has all terms of an account, by pages, and shows drift apart', async () => {
      await b.withAccounts({ a: 10, b: 0, c: 7 });
      const one = folded(
        await b.table.fold(
          foldOf(startOf(1), [
            ['a', '1', 5n],
            ['b', '1', 3n],
            ['gone', '1', 9n],
          ]),
        ),
      );
      folded(
        await b.table.fold(
          foldOf(startOf(2), [
            ['a', '1', 6n],
            ['b', '1', 3n],
          ]),
        ),
      );
      await b.table.direct(transaction('a', 'd', 100n), anyLedger);
      await sql(b.database, "UPDATE accounts SET balance = balance + 1000 WHERE id = 'b'");

      const first = await b.table.accountTotals({ limit: 2 });
      const second = await b.table.accountTotals({ after: first.accounts.at(-1)!.account, limit: 2 });
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
      expect((await b.table.accountTotals({ after: 'gone', limit: 2 })).accounts).toEqual([]);
    });

    it('counts folds and ledger alike, a log a row', async () => {
      await b.withAccounts({ a: 0 });
      const { watermark } = folded(
        await b.table.fold(
          foldOf(startOf(1), [
            ['a', '1', 5n],
            ['a', '2', -1n],
          ]),
        ),
      );
      folded(
        await b.table.fold(
          foldOf(watermark, [
            ['a', '2', -1n],
            ['a', '1', 7n],
            ['x', '3', 2n],
          ]),
        ),
      );
      await b.table.direct(transaction('a', 'd', 9n), anyLedger);
      expect(await b.table.foldTotals()).toMatchObject([
        {
          current: true,
          baseSequence: 0,
          folded: { count: 3n, sum: 6n },
          dropped: { count: 1n, sum: -1n },
          conflicts: { count: 1n, sum: 7n },
        },
      ]);
      expect(await b.table.ledgerTotals()).toEqual([
        { shard: null, logId: null, rows: { count: 1n, sum: 9n }, firstSequence: null, lastSequence: null },
        { shard: 1, logId: LOG, rows: { count: 3n, sum: 6n }, firstSequence: 1, lastSequence: 2 },
      ]);
    });

    it('reads the ledger of a range of a log by pages', async () => {
      await b.withAccounts({ a: 0 });
      let from = startOf(1);
      for (let record = 0; record < 3; record += 1) {
        const rows: Row[] = [0, 1].map((i) => ['a', `${record}-${i}`, 1n]);
        from = folded(await b.table.fold(foldOf(from, rows))).watermark;
      }
      const range = { shard: 1, logId: LOG, fromSequence: 2, toSequence: 3 };
      const page = await b.table.ledgerOfLog({ ...range, limit: 3 });
      expect(page.map((row) => [row.sequence, row.index, row.id])).toEqual([
        [2, 0, '1-0'],
        [2, 1, '1-1'],
        [3, 0, '2-0'],
      ]);
      const rest = await b.table.ledgerOfLog({ ...range, after: page.at(-1)!, limit: 3 });
      expect(rest.map((row) => row.id)).toEqual(['2-1']);
      folded(await b.table.fold(foldOf(from, [['a', '0-0', 2n]])));
      expect(await b.table.conflictsOfLog({ ...range, toSequence: 4 })).toMatchObject([{ sequence: 4, amount: 2n }]);
      expect(await b.table.conflictsOfLog(range)).toEqual([]);
    });
  });
}
