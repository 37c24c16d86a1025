import { describe, expect, it } from 'vitest';
import {
  anyLedger,
  folded,
  foldOf,
  freshDataTable,
  type Row,
  sql,
  startOf,
  transaction,
} from '../../support/data-table-fixture.js';
import type { Workbench } from './workbench.js';

/** One spelling of an account meets its row. */
export function accountTextsCases(b: Workbench): void {
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
      b.table = await freshDataTable(
        b.database,
        `CREATE TABLE accounts (id ${column} PRIMARY KEY, balance bigint NOT NULL DEFAULT 0)`,
        { idType },
      );
      await sql(b.database, 'INSERT INTO accounts VALUES ($1, 0)', [canonical]);
      const rows: Row[] = [[canonical, '1', 5n], ...others.map((other): Row => [other, '1', 100n])];
      expect(folded(await b.table.fold(foldOf(startOf(1), rows)))).toMatchObject({
        applied: 1,
        setAside: others.length,
      });
      expect(await b.balances()).toEqual({ [canonical]: '5' });
      const read = await b.table.readBalances([canonical, others[0]], []);
      expect(read.accounts.map((row) => [row.row, row.setAside])).toEqual([
        [5n, 0n],
        [null, 100n],
      ]);
      expect((await b.table.direct(transaction(others[0], '2', 1n), anyLedger)).outcome).toBe('unavailable');
      expect((await b.table.direct(transaction(canonical, '2', 1n), anyLedger)).outcome).toBe('applied');
      expect(await b.table.retrySetAside({ dueOnly: false, limit: 100 })).toEqual({
        applied: 0,
        remaining: others.length,
      });
      expect(await b.balances()).toEqual({ [canonical]: '6' });
    });
  });
}
