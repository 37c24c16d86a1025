import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';
import { postgresBinaries } from '../../test/support/postgres-binaries.js';

const run = promisify(execFile);

const HOT_ROW = `\\set id random(1, 9000000000000000)
BEGIN;
INSERT INTO plain_ledger (id, account, amount) VALUES (:id, 'hot', 5);
UPDATE plain_accounts SET balance = balance + 5 WHERE id = 'hot';
COMMIT;
`;

/** Transactions a second of what a user does without spill: insert a ledger row and update the one hot row. */
export async function hotRow(url: string, seconds: number, clients: number): Promise<number> {
  const client = new pg.Client({ connectionString: url });
  await client.connect();
  await client.query(`
    DROP TABLE IF EXISTS plain_ledger, plain_accounts;
    CREATE TABLE plain_accounts (id text PRIMARY KEY, balance bigint NOT NULL);
    CREATE TABLE plain_ledger (id bigint, account text NOT NULL, amount bigint NOT NULL);
    CREATE INDEX ON plain_ledger (id);
    INSERT INTO plain_accounts VALUES ('hot', 0);`);
  await client.end();
  const folder = mkdtempSync(join(tmpdir(), 'spill-pgbench-'));
  const script = join(folder, 'hot-row.sql');
  writeFileSync(script, HOT_ROW);
  try {
    const flags = ['-n', '-M', 'prepared', '-c', String(clients), '-j', '2', '-T', String(seconds), '-f', script];
    const { stdout } = await run(join(postgresBinaries(), 'pgbench'), [...flags, url]);
    const tps = /tps = ([\d.]+)/.exec(stdout)?.[1];
    if (!tps) throw new Error(`pgbench said nothing of its rate:\n${stdout}`);
    return Number(tps);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}
