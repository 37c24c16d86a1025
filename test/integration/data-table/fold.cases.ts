import { OperatorActionError } from '@spill/core';
import { describe, expect, it } from 'vitest';
import {
  folded,
  foldOf,
  hashOf,
  LOG,
  logOf,
  type Row,
  sql,
  startOf,
  timestampOf,
} from '../../support/data-table-fixture.js';
import { key, NOTE, type Workbench } from './workbench.js';

/** Fold: once, in order, from the right place. */
export function foldCases(b: Workbench): void {
  describe('fold', () => {
    it('moves balances, ledger and watermark together, and only once', async () => {
      await b.withAccounts({ a: 100, b: 0 });
      const request = foldOf(startOf(1), [
        ['b', 'x', 5n],
        ['a', 'x', -7n],
        ['b', 'y', 2n],
      ]);
      const outcome = folded(await b.table.fold(request));
      expect(outcome).toMatchObject({ applied: 3, dropped: 0, setAside: 0, conflicts: 0 });
      expect(outcome.watermark).toEqual({ ...request.to, shard: 1, logId: LOG, assignment: 1 });
      expect(await b.balances()).toEqual({ a: '93', b: '7' });
      expect(await b.table.watermark(1)).toEqual(outcome.watermark);
      expect(await b.table.watermarks()).toEqual([outcome.watermark]);
      expect(await b.table.ledger([key('a', 'x'), key('a', 'y')])).toEqual([
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

      expect(await b.table.fold(request)).toEqual({ outcome: 'watermark_differs', watermark: outcome.watermark });
      expect(await b.balances()).toEqual({ a: '93', b: '7' });
    });

    it('advances the watermark over records that hold nothing', async () => {
      await b.withAccounts({});
      const outcome = folded(await b.table.fold(foldOf(startOf(3), [])));
      expect(outcome.watermark.sequence).toBe(1);
    });

    it.each([
      ['log id', { logId: 'cd'.repeat(16) }],
      ['sequence', { sequence: 2 }],
      ['number', { number: 9 }],
      ['hash', { hash: hashOf(9) }],
    ])('writes nothing where the watermark has another %s', async (_, other) => {
      await b.withAccounts({ a: 0 });
      const { watermark } = folded(await b.table.fold(foldOf(startOf(1), [['a', '1', 1n]])));
      const request = foldOf({ ...watermark, ...other }, [['a', '2', 1n]]);
      expect(await b.table.fold(request)).toEqual({ outcome: 'watermark_differs', watermark });
      expect(await b.balances()).toEqual({ a: '1' });
    });

    it('takes a missing watermark for nothing folded only in the ledger that was judged', async () => {
      await b.withAccounts({ a: 0 });
      const { ledgerId } = await b.table.ledgerOf(1);
      const elsewhere = foldOf(startOf(1), [['a', '1', 1n]], { ledgerId: 'cd'.repeat(16) });
      expect(await b.table.fold(elsewhere)).toEqual({ outcome: 'watermark_differs', watermark: null });
      expect(await b.table.ledgerOf(1)).toEqual({ ledgerId, watermark: null });
      expect(await b.balances()).toEqual({ a: '0' });
      const { watermark } = folded(await b.table.fold({ ...elsewhere, ledgerId }));
      expect(await b.table.ledgerOf(1)).toEqual({ ledgerId, watermark });
      const other = { id: 'cd'.repeat(16), renew: true };
      await expect(b.table.resetWatermark(startOf(1), other, NOTE)).rejects.toThrow(/made anew/);
      expect(await b.table.ledgerOf(1)).toEqual({ ledgerId, watermark });
      expect(await b.table.resetWatermark(startOf(1), { id: ledgerId, renew: false }, NOTE)).toBe(ledgerId);
      const renewed = await b.table.resetWatermark(startOf(1), { id: ledgerId, renew: true }, NOTE);
      expect(renewed).not.toBe(ledgerId);
      expect((await b.table.ledgerOf(1)).ledgerId).toBe(renewed);
    });

    it('knows the highest shard that has folded', async () => {
      await b.withAccounts({ a: 0 });
      expect(await b.table.highestShard()).toBe(0);
      folded(await b.table.fold(foldOf(startOf(7), [['a', '1', 1n]])));
      folded(await b.table.fold(foldOf(startOf(3), [['a', '2', 1n]])));
      expect(await b.table.highestShard()).toBe(7);
      await sql(b.database, 'DROP SCHEMA spill CASCADE');
      expect(await b.table.highestShard()).toBe(0);
    });

    it('writes nothing where a watermark is expected and there is none', async () => {
      await b.withAccounts({ a: 0 });
      const request = foldOf({ ...startOf(1), sequence: 4, number: 4, hash: hashOf(4) }, [['a', '1', 1n]]);
      expect(await b.table.fold(request)).toEqual({ outcome: 'watermark_differs', watermark: null });
      expect(await b.table.watermarks()).toEqual([]);
    });

    it('refuses the fold of a stale process: a higher assignment has folded', async () => {
      await b.withAccounts({ a: 0 });
      const { watermark } = folded(await b.table.fold(foldOf(startOf(1, LOG, 5), [['a', '1', 1n]])));
      const zombie = foldOf(watermark, [['a', '2', 1n]], { assignment: 4 });
      expect(await b.table.fold(zombie)).toEqual({ outcome: 'superseded', watermark });
      expect(await b.balances()).toEqual({ a: '1' });

      const successor = folded(await b.table.fold(foldOf(watermark, [['a', '2', 1n]], { assignment: 6 })));
      expect(successor.watermark.assignment).toBe(6);
    });

    it('drops an id that took effect before, from whatever shard', async () => {
      await b.withAccounts({ a: 0, b: 0 });
      const first: Row[] = [
        ['a', 'x', 5n],
        ['b', 'x', 3n],
      ];
      folded(await b.table.fold(foldOf(startOf(1), first)));
      const outcome = folded(await b.table.fold(foldOf(startOf(2), [...first, ['a', 'y', 1n]])));
      expect(outcome).toMatchObject({ applied: 1, dropped: 2, conflicts: 0 });
      expect(await b.balances()).toEqual({ a: '6', b: '3' });
    });

    it('takes the same id twice in one fold once', async () => {
      await b.withAccounts({ a: 0 });
      const outcome = folded(
        await b.table.fold(
          foldOf(startOf(1), [
            ['a', 'x', 5n],
            ['a', 'x', 5n],
            ['a', 'x', 6n],
          ]),
        ),
      );
      expect(outcome).toMatchObject({ applied: 1, dropped: 1, conflicts: 1 });
      expect(await b.balances()).toEqual({ a: '5' });
    });

    it('keeps (x, A, +5) and then (x, A, −5) from another pool as a conflict, in no balance', async () => {
      await b.withAccounts({ A: 0 });
      folded(await b.table.fold(foldOf(startOf(1), [['A', 'x', 5n]])));
      const debit = foldOf(
        startOf(2),
        [
          ['A', 'x', -5n],
          ['A', 'z', 1n],
        ],
        { pool: 'debit' },
      );
      expect(folded(await b.table.fold(debit))).toMatchObject({ applied: 1, dropped: 0, conflicts: 1 });
      expect(await b.balances()).toEqual({ A: '6' });
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
      expect(await b.table.listConflicts({ state: 'open', limit: 10 })).toEqual([conflict]);

      const resolved = await b.table.resolveConflict(conflict, NOTE);
      expect(resolved.state).toBe('resolved');
      await expect(b.table.resolveConflict(conflict, NOTE)).rejects.toThrow(OperatorActionError);
      expect(await b.table.listConflicts({ state: 'open', limit: 10 })).toEqual([]);
      expect(await b.table.listOperatorActions(10)).toMatchObject([{ ...NOTE, action: 'resolve_conflict' }]);
    });

    it('keeps what no text column can hold as a conflict, and goes on', async () => {
      await b.withAccounts({ a: 0 });
      const outcome = folded(
        await b.table.fold(
          foldOf(startOf(1), [
            ['a', 'nul\u0000', 5n],
            ['a', 'lone\ud800', 5n],
            ['bad\u0000', 'x', 5n],
            ['a', 'good', 1n],
          ]),
        ),
      );
      expect(outcome).toMatchObject({ applied: 1, setAside: 0, conflicts: 3 });
      expect(await b.balances()).toEqual({ a: '1' });
      const conflicts = await b.table.listConflicts({ limit: 10 });
      expect(conflicts.map((row) => [row.account, row.id, row.ledgerAmount])).toEqual([
        ['a', 'nul\\u0000', null],
        ['a', 'lone\\ud800', null],
        ['bad\\u0000', 'x', null],
      ]);
    });

    it('folds again what was folded, after a repair, and counts it once', async () => {
      await b.withAccounts({ a: 0, nobody: 0 });
      const request = foldOf(startOf(1), [
        ['a', '1', 1n],
        ['a', '1', 2n],
        ['a', '2', 3n],
      ]);
      folded(await b.table.fold(request));
      const newLog = 'ef'.repeat(16);
      const { ledgerId } = await b.table.ledgerOf(1);
      await b.table.resetWatermark({ ...startOf(1, newLog), assignment: 7 }, { id: ledgerId, renew: false }, NOTE);
      expect(await b.table.watermark(1)).toEqual({ ...startOf(1, newLog), assignment: 7 });
      const again = await b.table.fold({ ...request, assignment: 7, from: startOf(1, newLog) });
      expect(folded(again)).toMatchObject({ applied: 0, dropped: 2, conflicts: 1 });
      expect(await b.balances()).toMatchObject({ a: '4' });
      expect(await b.table.listConflicts({ limit: 10 })).toHaveLength(1);
      const totals = await b.table.foldTotals();
      expect(totals.map((row) => [row.watermark.logId, row.current, row.folded.count, row.dropped.count])).toEqual([
        [newLog, true, 0n, 2n],
        [LOG, false, 2n, 0n],
      ]);
      expect(await b.table.listOperatorActions(10)).toMatchObject([{ ...NOTE, action: 'reset_watermark' }]);
    });

    it('folds again after the database was set back to an earlier dump', async () => {
      await b.withAccounts({ a: 0 });
      const first = folded(await b.table.fold(foldOf(startOf(1), [['a', '1', 1n]])));
      const dump = `CREATE TABLE back_rows AS TABLE accounts; CREATE TABLE back_ledger AS TABLE spill.ledger;
        CREATE TABLE back_mark AS TABLE spill.watermark`;
      await sql(b.database, dump);
      const secondRequest = foldOf(first.watermark, [['a', '2', 2n]]);
      const second = folded(await b.table.fold(secondRequest));
      await sql(
        b.database,
        `TRUNCATE accounts, spill.ledger, spill.watermark;
         INSERT INTO accounts TABLE back_rows; INSERT INTO spill.ledger TABLE back_ledger;
         INSERT INTO spill.watermark TABLE back_mark; DROP TABLE back_rows, back_ledger, back_mark`,
      );
      const third = foldOf(second.watermark, [['a', '3', 4n]]);
      expect(await b.table.fold(third)).toEqual({ outcome: 'watermark_differs', watermark: first.watermark });
      folded(await b.table.fold(secondRequest));
      folded(await b.table.fold(third));
      expect(await b.balances()).toEqual({ a: '7' });
    });
  });
}
