import { TransientDataTableError } from '@spill/core';
import { afterAll, beforeAll, expect, it } from 'vitest';
import {
  anyLedger,
  folded,
  foldOf,
  freshDataTable,
  type Row,
  sql,
  startOf,
  startTestDatabase,
  type TestDatabase,
  transaction,
} from '../support/data-table-fixture.js';

const ROWS = 50_000;
const ACCOUNTS = 10_000;
const TABLE = `CREATE TABLE accounts (id text PRIMARY KEY, balance bigint NOT NULL DEFAULT 0 CHECK (balance >= 0))`;
const accounts = (count: number): string =>
  `INSERT INTO accounts SELECT 'a' || n, 0 FROM generate_series(1, ${count}) n`;

let database: TestDatabase;

beforeAll(async () => {
  database = await startTestDatabase('PostgreSQL');
});
afterAll(async () => {
  await database?.stop();
});

it('a fold of several statements tells what it inserted, dropped, kept and set aside of each', {
  timeout: 60_000,
}, async () => {
  const table = await freshDataTable(database, `${TABLE}; ${accounts(ACCOUNTS)}`);
  try {
    const kept: Row[] = Array.from({ length: 100 }, (_, i) => [`a${1 + i}`, `kept-${i}`, 3n]);
    const { watermark } = folded(await table.fold(foldOf(startOf(1), kept)));
    for (let i = 1; i <= 10; i++) await table.direct(transaction(`a${i}`, `direct-${i}`, 5n), anyLedger);
    // What is unusual comes every 1,000 rows, so in each statement: the same again, another amount, no row, a refusal.
    const counts = { applied: 0, dropped: 0, conflicts: 0, setAside: 0 };
    const rows = Array.from({ length: ROWS }, (_, i): Row => {
      const account = `a${1 + (i % ACCOUNTS)}`;
      const n = Math.floor(i / 1_000);
      switch (i % 1_000) {
        case 0:
          counts.dropped += 1;
          return [`a${1 + (n % 100)}`, `kept-${n % 100}`, 3n];
        case 1:
          counts.conflicts += 1;
          return [`a${1 + (n % 100)}`, `kept-${n % 100}`, 4n];
        case 2:
          counts.dropped += 1;
          return [`a${1 + (n % 10)}`, `direct-${1 + (n % 10)}`, 5n];
        case 3:
          counts.setAside += 1;
          return ['nobody', `${i}`, 1n];
        case 4:
          counts.setAside += 1;
          return ['a9999', `${i}`, -1_000n];
        default:
          if (account === 'a9999') counts.setAside += 1;
          else counts.applied += 1;
          return [account, `${i}`, 1n];
      }
    });
    expect(folded(await table.fold(foldOf(watermark, rows)))).toMatchObject(counts);
    const [drift] = await sql(
      database,
      `SELECT count(*)::int AS rows FROM accounts a WHERE balance <> (
         SELECT coalesce(sum(amount), 0) FROM spill.ledger l WHERE l.account = a.id AND l.state = 'applied')`,
    );
    expect(drift).toEqual({ rows: 0 });
    const [ledger] = await sql(
      database,
      `SELECT count(*) FILTER (WHERE state = 'set_aside')::int AS set_aside, count(*)::int AS rows,
         (SELECT count(*)::int FROM spill.direct_mark) AS marks, (SELECT count(*)::int FROM spill.conflict) AS conflicts
       FROM spill.ledger`,
    );
    const stored = counts.applied + counts.setAside + kept.length + 10;
    expect(ledger).toEqual({ set_aside: counts.setAside, rows: stored, marks: 0, conflicts: counts.conflicts });
  } finally {
    await table.close();
  }
});

it('all that an account refuses is set aside, however much it is', async () => {
  const table = await freshDataTable(database, TABLE);
  try {
    const rows = Array.from({ length: 25_000 }, (_, i): Row => ['nobody', `${i}`, 1n]);
    expect(folded(await table.fold(foldOf(startOf(1), rows)))).toMatchObject({ applied: 0, setAside: 25_000 });
    const states = await sql(database, 'SELECT state::text, count(*)::int AS rows FROM spill.ledger GROUP BY state');
    expect(states).toEqual([{ state: 'set_aside', rows: 25_000 }]);
  } finally {
    await table.close();
  }
});

it('one of very many accounts that refuses is not looked for in a wide fold: a smaller one is to be tried', async () => {
  const table = await freshDataTable(database, `${TABLE}; ${accounts(20_001)}`);
  try {
    const rows = Array.from({ length: 20_001 }, (_, i): Row => [`a${1 + i}`, '1', i === 7_000 ? -1n : 1n]);
    const wide = foldOf(startOf(1), rows, { divisible: true });
    await expect(table.fold(wide)).rejects.toThrow(TransientDataTableError);
    expect(await table.watermarks()).toEqual([]);
    const small = foldOf(startOf(1), rows.slice(1), { divisible: true });
    expect(folded(await table.fold(small))).toMatchObject({ applied: 19_999, setAside: 1 });
    // One record may hold as many, and can't be divided: it must be looked at here.
    const record = rows.map(([account, , amount]): Row => [account, '2', amount]);
    expect(folded(await table.fold(foldOf(startOf(2), record)))).toMatchObject({ applied: 20_000, setAside: 1 });
  } finally {
    await table.close();
  }
});
