import { describe, expect, it } from 'vitest';
import { folded, foldOf, type Row, startOf } from '../../support/data-table-fixture.js';
import { key, type Workbench } from './workbench.js';

/** Balances, pages, texts. */
export function readsCases(b: Workbench): void {
  describe('reads', () => {
    it('reads balances and watermarks of one snapshot, in the order asked for', async () => {
      await b.withAccounts({ a: 1, b: 2 });
      const { watermark } = folded(
        await b.table.fold(
          foldOf(startOf(1), [
            ['b', '1', 5n],
            ['gone', '1', 3n],
          ]),
        ),
      );
      const snapshot = await b.table.readBalances(['gone', 'b', 'stranger', 'a'], [1, 2]);
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
      expect(await b.table.readBalances([], [])).toEqual({ accounts: [], watermarks: new Map() });
    });

    it('retrieves pages by (timestamp, bytes of id)', async () => {
      await b.withAccounts({ a: 0 });
      const ids = ['b', 'a', 'é', 'z', '\u{1f600}', '\uffee'];
      const rows = ids.map((id): Row => ['a', id, 1n]);
      const request = foldOf(startOf(1), rows);
      const same = rows.map((_, i) => (i < 2 ? 10 : 20));
      const { watermark } = folded(await b.table.fold({ ...request, rows: { ...request.rows, timestamps: same } }));
      const first = await b.table.retrieve({ account: 'a', limit: 3 });
      expect(first.rows.map((row) => row.id)).toEqual(['a', 'b', 'z']);
      expect(first.watermarks).toEqual(new Map([[1, watermark]]));
      const next = await b.table.retrieve({ account: 'a', after: { timestamp: 20, id: 'z' }, limit: 10 });
      expect(next.rows.map((row) => row.id)).toEqual(['é', '\uffee', '\u{1f600}']);
      expect((await b.table.retrieve({ account: 'a', from: 10, to: 20, limit: 10 })).rows).toHaveLength(2);
      expect((await b.table.retrieve({ account: 'a', from: 11, limit: 10 })).rows).toHaveLength(4);
      expect((await b.table.retrieve({ account: 'a', state: 'set_aside', limit: 10 })).rows).toEqual([]);
      expect((await b.table.retrieve({ account: 'b', limit: 10 })).rows).toEqual([]);
    });

    it('keeps texts and timestamps to the byte and the microsecond', async () => {
      const account = 'ü'.repeat(64);
      await b.withAccounts({ [account]: 0 });
      const id = '\u{1f600}'.repeat(16);
      const request = foldOf(startOf(1), [[account, id, -(2n ** 63n) + 1n]]);
      const timestamps = [Number.MAX_SAFE_INTEGER];
      await b.table.fold({ ...request, rows: { ...request.rows, timestamps } });
      expect(await b.table.ledger([key(account, id), key('\u0000', 'x')])).toMatchObject([
        { account, id, amount: -(2n ** 63n) + 1n, timestamp: timestamps[0] },
        null,
      ]);
    });
  });
}
