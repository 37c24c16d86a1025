import { DataTableSchemaError } from '@spill/core';
import { describe, expect, it } from 'vitest';
import { openDataTable, sql } from '../../support/data-table-fixture.js';
import type { Workbench } from './workbench.js';

/** Schema and mapping. */
export function schemaCases(b: Workbench): void {
  describe('schema', () => {
    it('is planned, applied once, checked; twice does no harm', async () => {
      await sql(b.database, 'DROP SCHEMA IF EXISTS spill CASCADE; DROP TABLE IF EXISTS accounts CASCADE');
      b.table = openDataTable(b.database);
      expect(await b.table.checkSchema()).toEqual([
        expect.stringContaining('table accounts does not exist'),
        expect.stringContaining('run `spill schema apply`'),
      ]);
      await expect(b.table.applySchema()).rejects.toThrow(DataTableSchemaError);
      await sql(b.database, 'CREATE TABLE accounts (id text PRIMARY KEY, balance bigint NOT NULL DEFAULT 0)');
      await expect(b.table.watermarks()).rejects.toThrow(DataTableSchemaError);
      const plan = await b.table.planSchema();
      expect(plan[0]!.sql).toContain('CREATE TABLE spill.ledger');
      expect(plan.map((statement) => statement.sql).join('\n')).toMatch(/GRANT SELECT, UPDATE ON "accounts" TO/);
      await Promise.all([b.table.applySchema(), b.table.applySchema()]);
      expect(await b.table.checkSchema()).toEqual([]);
      expect(await b.table.planSchema()).toEqual([]);
      await b.table.applySchema();
      await sql(b.database, "INSERT INTO spill.schema_version (version, name) VALUES (99, 'later')");
      expect(await b.table.checkSchema()).toEqual([expect.stringContaining('use a newer spill')]);
    });

    it.each([
      ['id text, balance bigint', {}, 'neither primary key nor unique'],
      ['id bigint PRIMARY KEY, balance bigint', {}, 'set id_type to int8'],
      ['id char(8) PRIMARY KEY, balance bigint', {}, 'must be text, varchar'],
      ['id text PRIMARY KEY, balance integer', {}, 'must be int8 (bigint) or numeric'],
      ['id text PRIMARY KEY, balance money', {}, 'must be int8 (bigint) or numeric'],
      ['id text PRIMARY KEY, balance numeric(10,2)', {}, 'set balance_type to numeric'],
      ['id text PRIMARY KEY, balance numeric(10,1)', { balanceType: 'numeric', minorUnits: 2 }, 'would be rounded'],
      ['id text PRIMARY KEY, balance bigint', { minorUnits: 2 }, 'set it to 0'],
      ['id text PRIMARY KEY, credit bigint', {}, 'has no column balance'],
      ['key text PRIMARY KEY, balance bigint', {}, 'has no column id'],
      ['id text PRIMARY KEY, n int, balance bigint GENERATED ALWAYS AS (n) STORED', {}, 'generated column'],
    ] as const)('refuses (%s)', async (columns, mapping, problem) => {
      await sql(
        b.database,
        `DROP SCHEMA IF EXISTS spill CASCADE; DROP TABLE IF EXISTS accounts CASCADE; CREATE TABLE accounts (${columns})`,
      );
      b.table = openDataTable(b.database, mapping);
      await expect(b.table.applySchema()).rejects.toThrow(problem);
      expect((await b.table.checkSchema()).join('\n')).toContain(problem);
    });
  });
}
