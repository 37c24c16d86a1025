import { DataTableSchemaError } from '@spill/core';
import type { PostgresDataTable } from '@spill/node';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  anyLedger,
  folded,
  foldOf,
  freshDataTable,
  openDataTable,
  sql,
  startOf,
  startTestDatabase,
  type TestDatabase,
  transaction,
} from '../support/data-table-fixture.js';

const NOTE = { who: 'ada', why: 'a test' };

/** What needs several roles or ICU collations. */
describe('data table, roles and collations (PostgreSQL only)', () => {
  let database: TestDatabase;
  let table: PostgresDataTable;
  let limited: PostgresDataTable;

  beforeAll(async () => {
    database = await startTestDatabase('PostgreSQL');
    await sql(database, 'CREATE ROLE shard LOGIN');
  });
  afterAll(async () => {
    await database?.stop();
  });
  afterEach(async () => {
    await table?.close();
    await limited?.close();
  });

  const asShard = () => ({ connectionString: database.connection.connectionString!.replace('spill@', 'shard@') });

  it('the printed GRANTs are all that a role of its own needs for everything that spill does', async () => {
    const mapping = { table: 'bank.accounts', createAccounts: true };
    const ddl = `DROP SCHEMA IF EXISTS bank CASCADE; CREATE SCHEMA bank;
      CREATE TABLE bank.accounts (id text PRIMARY KEY, balance bigint NOT NULL); INSERT INTO bank.accounts VALUES ('a', 0)`;
    table = await freshDataTable(database, ddl, mapping);
    limited = openDataTable(database, mapping, { connection: asShard() });
    const missing = await limited.checkSchema();
    expect(missing.join('\n')).toContain('GRANT SELECT, UPDATE, INSERT ON "bank"."accounts" TO "shard"');
    await expect(limited.watermarks()).rejects.toThrow(DataTableSchemaError);
    await expect(limited.watermarks()).rejects.toThrow(/permission denied for schema spill.*--grant-to ROLE/);
    expect((await limited.fold(foldOf(startOf(1), [['a', '1', 1n]]))).outcome).toBe('blocked');
    expect((await table.planSchema()).length).toBe(0);

    const owner = openDataTable(database, mapping, { grantTo: 'shard' });
    const plan = await owner.planSchema();
    expect(plan.every((statement) => statement.sql.startsWith('GRANT '))).toBe(true);
    await owner.applySchema();
    expect(await owner.checkSchema()).toEqual([]);
    await owner.close();
    expect(await limited.checkSchema()).toEqual([]);

    await limited.direct(transaction('a', 'd', 2n), anyLedger);
    const first = folded(
      await limited.fold(
        foldOf(startOf(1), [
          ['a', '1', 1n],
          ['a', '1', 2n],
          ['a', 'd', 2n],
          ['new', '1', 5n],
        ]),
      ),
    );
    expect(first).toMatchObject({ applied: 2, dropped: 1, conflicts: 1 });
    const second = foldOf(
      first.watermark,
      [
        ['a', '2', 1n],
        ['a', '3', 1n],
        ['a', '4', 1n],
      ],
      { setAsideAll: true },
    );
    folded(await limited.fold(second));
    await limited.writeOff({ account: 'a', id: '2' }, NOTE);
    await limited.moveSetAside({ account: 'a', id: '3' }, 'new', NOTE);
    await limited.retrySetAside({ dueOnly: false, limit: 10 });
    const [conflict] = await limited.listConflicts({ limit: 1 });
    await limited.resolveConflict(conflict!, NOTE);
    await limited.clearDirectMarks(0, []);
    await limited.resetWatermark(
      startOf(1, 'ee'.repeat(16)),
      { id: (await limited.ledgerOf(1)).ledgerId, renew: true },
      NOTE,
    );
    await limited.readBalances(['a'], [1]);
    await limited.retrieve({ account: 'a', limit: 10 });
    await limited.accountTotals({ limit: 10 });
    await limited.foldTotals();
    await limited.ledgerTotals();
    expect(await limited.listOperatorActions(10)).toHaveLength(4);

    const client = new pg.Client(asShard());
    await client.connect();
    await expect(client.query('DELETE FROM spill.ledger')).rejects.toMatchObject({ code: '42501' });
    await client.end();
  });

  it('refuses an id column whose collation makes two texts one', async () => {
    await sql(
      database,
      `DROP SCHEMA IF EXISTS spill CASCADE; DROP TABLE IF EXISTS accounts CASCADE;
       CREATE COLLATION IF NOT EXISTS nocase (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
       CREATE TABLE accounts (id text COLLATE nocase PRIMARY KEY, balance bigint NOT NULL)`,
    );
    table = openDataTable(database);
    await expect(table.applySchema()).rejects.toThrow('nondeterministic collation nocase');
  });

  it('folds where the database is read-only and serializable by default', async () => {
    table = await freshDataTable(database);
    await sql(
      database,
      `INSERT INTO accounts VALUES ('a', 0);
       ALTER DATABASE postgres SET default_transaction_isolation = 'serializable';
       ALTER DATABASE postgres SET default_transaction_read_only = on`,
    );
    limited = openDataTable(database);
    expect(folded(await limited.fold(foldOf(startOf(1), [['a', '1', 1n]])))).toMatchObject({ applied: 1 });
    await sql(
      database,
      `BEGIN READ WRITE; ALTER DATABASE postgres RESET default_transaction_isolation;
       ALTER DATABASE postgres RESET default_transaction_read_only; COMMIT`,
    );
  });
});
