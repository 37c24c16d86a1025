import { execFile } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { postgresBinaries } from '../../test/support/postgres-binaries.js';
import type { Peer } from './peer.js';

const run = promisify(execFile);
const SECONDS = 2;
const CLIENTS = 32;
const BATCH = 1_000;

interface Way {
  readonly peer: string;
  readonly what: string;
  readonly script: string;
  /** Transactions in one of pgbench's. */
  readonly rows: number;
  readonly inLedger: boolean;
  readonly inBalance: boolean;
}

const WAYS: readonly Way[] = [
  {
    peer: 'PG hot row',
    what: `PostgreSQL, insert into a ledger and update of the one row, pgbench with ${CLIENTS} clients`,
    script: `\\set id random(1, 9000000000000000)
BEGIN;
INSERT INTO plain_ledger VALUES (:id, 'hot', 5);
UPDATE plain_accounts SET balance = balance + 5 WHERE id = 'hot';
COMMIT;
`,
    rows: 1,
    inLedger: true,
    inBalance: true,
  },
  {
    peer: 'PG update',
    what: `PostgreSQL, update of the one row alone, pgbench with ${CLIENTS} clients`,
    script: `UPDATE plain_accounts SET balance = balance + 5 WHERE id = 'hot';\n`,
    rows: 1,
    inLedger: false,
    inBalance: true,
  },
  {
    peer: 'PG 1,000',
    what: `PostgreSQL, ${BATCH.toLocaleString('en-US')} inserts and the update in one statement, pgbench with ${CLIENTS} clients`,
    script: `\\set id random(1, 9000000000000000)
WITH rows AS (
  INSERT INTO plain_ledger SELECT :id::bigint + n, 'hot', 5 FROM generate_series(1, ${BATCH}) AS n RETURNING amount
)
UPDATE plain_accounts SET balance = balance + (SELECT sum(amount) FROM rows) WHERE id = 'hot';
`,
    rows: BATCH,
    inLedger: true,
    inBalance: true,
  },
  {
    peer: 'PG insert',
    what: `PostgreSQL, insert into a ledger alone, no balance, pgbench with ${CLIENTS} clients`,
    script: `\\set id random(1, 9000000000000000)\nINSERT INTO plain_ledger VALUES (:id, 'hot', 5);\n`,
    rows: 1,
    inLedger: true,
    inBalance: false,
  },
];

/** What a user does without spill, on the same PostgreSQL, in tables of its own. */
export function pgbenchPeers(databaseUrl: string): Peer[] {
  const missing = existsSync(join(postgresBinaries(), 'pgbench')) ? null : 'this PostgreSQL comes without pgbench';
  return WAYS.map((way) => ({
    peer: way.peer,
    what: way.what,
    missing,
    measure: async () => ({ value: await measure(databaseUrl, way) }),
    close: async () => {},
  }));
}

/** Transactions a second. @throws Error where the tables do not hold what pgbench says it has done. */
async function measure(databaseUrl: string, way: Way): Promise<number> {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  try {
    await client.query(
      `DROP TABLE IF EXISTS plain_ledger, plain_accounts;
       CREATE TABLE plain_accounts (id text PRIMARY KEY, balance bigint NOT NULL);
       CREATE TABLE plain_ledger (id bigint, account text NOT NULL, amount bigint NOT NULL);
       CREATE INDEX ON plain_ledger (id);
       INSERT INTO plain_accounts VALUES ('hot', 0)`,
    );
    const { done, perSecond } = await pgbench(databaseUrl, way.script);
    const { rows } = await client.query(
      `SELECT (SELECT balance FROM plain_accounts)::text AS balance, (SELECT count(*) FROM plain_ledger)::text AS ledger`,
    );
    const expected = {
      balance: String(way.inBalance ? done * way.rows * 5 : 0),
      ledger: String(way.inLedger ? done * way.rows : 0),
    };
    if (rows[0].balance !== expected.balance || rows[0].ledger !== expected.ledger) {
      throw new Error(`${way.peer}: ${JSON.stringify(rows[0])}, and it should be ${JSON.stringify(expected)}`);
    }
    await client.query('DROP TABLE plain_ledger, plain_accounts');
    return perSecond * way.rows;
  } finally {
    await client.end();
  }
}

async function pgbench(databaseUrl: string, sql: string): Promise<{ done: number; perSecond: number }> {
  const folder = mkdtempSync(join(tmpdir(), 'spill-pgbench-'));
  const script = join(folder, 'script.sql');
  writeFileSync(script, sql);
  try {
    const flags = ['-n', '-M', 'prepared', '-c', String(CLIENTS), '-j', '2', '-T', String(SECONDS), '-f', script];
    const { stdout } = await run(join(postgresBinaries(), 'pgbench'), [...flags, databaseUrl]);
    const tps = /tps = ([\d.]+)/.exec(stdout)?.[1];
    const done = /actually processed: (\d+)/.exec(stdout)?.[1];
    if (!tps || !done) throw new Error(`pgbench said nothing of its rate:\n${stdout}`);
    return { done: Number(done), perSecond: Number(tps) };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
