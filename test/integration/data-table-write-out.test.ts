import { afterAll, beforeAll, expect, it } from 'vitest';
import {
  folded,
  foldOf,
  freshDataTable,
  openDataTable,
  sql,
  startOf,
  startTestDatabase,
  type TestDatabase,
} from '../support/data-table-fixture.js';
import { until } from '../support/fault.js';

/** Its rows say how the session that changed them last writes out what it pushes out of the buffers. */
const TELLING_TABLE = `
  CREATE TABLE accounts (id text PRIMARY KEY, balance bigint NOT NULL DEFAULT 0, told text);
  CREATE OR REPLACE FUNCTION public.tell() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN NEW.told := current_setting('backend_flush_after'); RETURN NEW; END $$;
  CREATE TRIGGER tell BEFORE UPDATE ON accounts FOR EACH ROW EXECUTE FUNCTION public.tell();
  INSERT INTO accounts VALUES ('a'), ('b')`;

let database: TestDatabase;

beforeAll(async () => {
  database = await startTestDatabase('PostgreSQL');
});
afterAll(async () => {
  await database?.stop();
});

it('a fold leaves no heap of written pages for a checkpoint, and keeps what an operator has chosen', async () => {
  const table = await freshDataTable(database, TELLING_TABLE);
  const chosen = openDataTable(
    database,
    {},
    { connection: { ...database.connection, options: '-c backend_flush_after=64kB' } },
  );
  try {
    await table.fold(foldOf(startOf(1), [['a', '1', 5n]]));
    await chosen.fold(foldOf(startOf(2), [['b', '1', 5n]]));
    expect(await sql(database, 'SELECT id, told FROM accounts ORDER BY id')).toEqual([
      { id: 'a', told: '256kB' },
      { id: 'b', told: '64kB' },
    ]);
  } finally {
    await table.close();
    await chosen.close();
  }
});

it('a role that may not see the settings folds all the same', async () => {
  const table = await freshDataTable(database, TELLING_TABLE);
  await sql(
    database,
    `CREATE ROLE blind LOGIN; GRANT ALL ON accounts TO blind; GRANT USAGE ON SCHEMA spill TO blind;
     GRANT ALL ON ALL TABLES IN SCHEMA spill TO blind; REVOKE ALL ON pg_settings FROM PUBLIC`,
  );
  const url = new URL(database.postgres!.url);
  url.username = 'blind';
  const blind = openDataTable(database, {}, { connection: { connectionString: url.href } });
  try {
    expect(folded(await blind.fold(foldOf(startOf(1), [['a', '1', 5n]])))).toMatchObject({ applied: 1 });
    expect(await sql(database, `SELECT told FROM accounts WHERE id = 'a'`)).toEqual([{ told: '0' }]);
  } finally {
    await blind.close();
    await table.close();
    await sql(database, 'GRANT SELECT ON pg_settings TO PUBLIC; DROP OWNED BY blind; DROP ROLE blind');
  }
});

it('a fold finds some of many accounts by their index, and does not read the table whole', async () => {
  const table = await freshDataTable(
    database,
    `CREATE TABLE accounts (id text PRIMARY KEY, balance bigint NOT NULL DEFAULT 0);
     INSERT INTO accounts SELECT 'a' || n FROM generate_series(1, 50000) n; ANALYZE accounts`,
  );
  const scans = async () => {
    const [row] = await sql(
      database,
      `SELECT seq_scan::int AS whole, n_tup_upd::int AS changed FROM pg_stat_user_tables WHERE relname = 'accounts'`,
    );
    return row as { whole: number; changed: number };
  };
  const { whole } = await scans();
  await table.fold(
    foldOf(
      startOf(1),
      Array.from({ length: 2_000 }, (_, i) => [`a${1 + 25 * i}`, '1', 5n]),
    ),
  );
  // A session tells what it has done at its end at the latest.
  await table.close();
  await until('the statistics', async () => (await scans()).changed === 2_000);
  expect((await scans()).whole).toBe(whole);
});
