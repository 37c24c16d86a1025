import type { PostgresDataTable } from '@spill/node';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  folded,
  foldOf,
  freshDataTable,
  sql,
  startOf,
  startTestDatabase,
  type TestDatabase,
  timestampOf,
} from '../support/data-table-fixture.js';

describe.each(['PostgreSQL', 'PGlite'] as const)('data table on %s', (name) => {
  let database: TestDatabase;
  let table: PostgresDataTable;

  beforeAll(async () => {
    database = await startTestDatabase(name);
  });
  afterAll(async () => {
    await database?.stop();
  });
  afterEach(async () => {
    await table?.close();
  });

  const balances = async () =>
    Object.fromEntries(
      (await sql(database, 'SELECT id::text AS id, balance::text AS balance FROM accounts ORDER BY id')).map((row) => [
        row.id,
        row.balance,
      ]),
    );

  it('folds once: balances, ledger and watermark move together', async () => {
    table = await freshDataTable(database);
    await sql(database, "INSERT INTO accounts VALUES ('a', 100), ('b', 0)");
    const request = foldOf(startOf(1), [
      ['b', 'x', 5n],
      ['a', 'x', -7n],
      ['b', 'y', 2n],
    ]);
    const outcome = folded(await table.fold(request));
    expect(outcome).toMatchObject({ applied: 3, dropped: 0, setAside: 0, conflicts: 0 });
    expect(outcome.watermark).toEqual({ ...request.to, shard: 1, logId: request.from.logId, assignment: 1 });
    expect(await balances()).toEqual({ a: '93', b: '7' });
    expect(await table.watermark(1)).toEqual(outcome.watermark);
    expect(
      await table.ledger([
        { account: 'a', id: 'x' },
        { account: 'a', id: 'y' },
      ]),
    ).toEqual([
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

    expect(await table.fold(request)).toEqual({ outcome: 'watermark_differs', watermark: outcome.watermark });
    expect(await balances()).toEqual({ a: '93', b: '7' });
  });
});
