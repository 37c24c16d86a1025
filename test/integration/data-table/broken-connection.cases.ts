import { DataTableUnavailableError } from '@spill/core';
import { afterEach, describe, expect, it } from 'vitest';
import { anyLedger, foldOf, openDataTable, startOf, transaction } from '../../support/data-table-fixture.js';
import { type DatabaseProxy, startDatabaseProxy } from '../../support/database-proxy.js';
import type { Workbench } from './workbench.js';

/** Connections that break at the worst moments. */
export function brokenConnectionCases(b: Workbench): void {
  describe('a connection that breaks', () => {
    let proxy: DatabaseProxy;

    async function throughProxy(statementMsMax?: number) {
      await b.withAccounts({ a: 0 });
      await b.table.close();
      proxy = await startDatabaseProxy(
        b.database.postgres === null
          ? { path: `${b.database.connection.host}/.s.PGSQL.5432` }
          : { host: '127.0.0.1', port: b.database.postgres.port },
      );
      const url = b.database.connection.connectionString?.replace(/:\d+\//, `:${proxy.port}/`);
      const connection =
        url === undefined
          ? { ...b.database.connection, host: '127.0.0.1', port: proxy.port }
          : { connectionString: url };
      b.table = openDataTable(
        b.database,
        {},
        { connection, ...(statementMsMax === undefined ? {} : { statementMsMax }) },
      );
    }
    afterEach(async () => {
      await proxy?.stop();
    });

    it('between COMMIT and its answer: unknown; the same fold again finds that it was folded', async () => {
      await throughProxy();
      const request = foldOf(startOf(1), [['a', '1', 5n]]);
      proxy.cutAt('COMMIT\u0000', 'answer');
      await expect(b.table.fold(request)).rejects.toThrow(DataTableUnavailableError);
      expect(await b.table.fold(request)).toMatchObject({ outcome: 'watermark_differs', watermark: { sequence: 1 } });
      expect(await b.balances()).toEqual({ a: '5' });
    });

    it('before COMMIT: the same fold again folds it, once', async () => {
      await throughProxy();
      const request = foldOf(startOf(1), [['a', '1', 5n]]);
      proxy.cutAt('COMMIT\u0000', 'request');
      await expect(b.table.fold(request)).rejects.toThrow(DataTableUnavailableError);
      // The server may still be busy ending the session that was cut off.
      await expect.poll(async () => (await b.table.fold(request)).outcome).toBe('folded');
      expect(await b.balances()).toEqual({ a: '5' });
    });

    it('in the middle of a fold: nothing of it stays', async () => {
      await throughProxy();
      const request = foldOf(startOf(1), [['a', '1', 5n]]);
      proxy.cutAt('UPDATE "accounts"', 'answer');
      await expect(b.table.fold(request)).rejects.toThrow(DataTableUnavailableError);
      await expect.poll(async () => (await b.table.fold(request)).outcome).toBe('folded');
      expect(await b.balances()).toEqual({ a: '5' });
    });

    it('at the direct path between COMMIT and its answer: the same transaction again is a duplicate', async () => {
      await throughProxy();
      proxy.cutAt('COMMIT\u0000', 'answer');
      await expect(b.table.direct(transaction('a', '1', 5n), anyLedger)).rejects.toThrow(DataTableUnavailableError);
      expect((await b.table.direct(transaction('a', '1', 5n), anyLedger)).outcome).toBe('duplicate');
      expect(await b.balances()).toEqual({ a: '5' });
    });

    it('goes silent in the middle of a fold: given up in bounded time; the same fold again folds it, once', async () => {
      await throughProxy(500);
      const request = foldOf(startOf(1), [['a', '1', 5n]]);
      proxy.blackHoleAt('UPDATE "accounts"');
      const began = performance.now();
      await expect(b.table.fold(request)).rejects.toThrow(DataTableUnavailableError);
      // A statement's own bound and 5 s for its answer, waited for once.
      expect(performance.now() - began).toBeLessThan(9_000);
      proxy.pass();
      await expect.poll(async () => (await b.table.fold(request)).outcome).toBe('folded');
      expect(await b.balances()).toEqual({ a: '5' });
    });
  });
}
