import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startPostgres, type TestPostgres } from '../support/postgres.js';
import { type CliResult, runSpill } from '../support/spill-cli.js';
import { startNode, type TestNode } from '../support/spill-node.js';

let postgres: TestPostgres;
let database: pg.Client;
let databaseUrl: string;
let node: TestNode;
beforeAll(async () => {
  postgres = await startPostgres({ fsync: false });
  databaseUrl = await postgres.createDatabase('bank');
  database = new pg.Client(databaseUrl);
  await database.connect();
  await database.query('CREATE TABLE accounts (id text PRIMARY KEY, balance numeric(20,2) NOT NULL)');
  const args = ['--apply-schema', '--balance-type', 'numeric', '--minor-units', '2'];
  node = await startNode({ databaseUrl, args });
}, 120_000);
afterAll(async () => {
  await node?.dispose();
  await database?.end();
  await postgres?.stop();
});

/** The command against both, with nothing said of the table. */
function spill(...args: string[]): Promise<CliResult> {
  return runSpill(args, { NATS_URL: node.natsUrl, SPILL_DATABASE_URL: databaseUrl, USER: 'ann' });
}

/** Stored, folded and set aside: the account has no row. spill itself does not try it again. */
async function setAside(account: string, amount: string): Promise<void> {
  expect(await spill('submit', account, amount, '--id', 'a')).toMatchObject({ code: 0 });
  expect(await spill('fold')).toMatchObject({ code: 0 });
  const kept = await database.query(
    `UPDATE spill.ledger SET next_attempt_at = 'infinity' WHERE account = $1 AND state = 'set_aside'`,
    [account],
  );
  expect(kept.rowCount).toBe(1);
}

async function giveRow(account: string, balance: string): Promise<void> {
  await database.query('INSERT INTO accounts (id, balance) VALUES ($1, $2)', [account, balance]);
}

async function balanceOf(account: string): Promise<string> {
  return (await database.query('SELECT balance::text FROM accounts WHERE id = $1', [account])).rows[0].balance;
}

test('retry and move add in the units of the cluster, whatever the command line leaves out', async () => {
  await setAside('bob', '1000000');
  await giveRow('bob', '9000');
  expect(await spill('set-aside', 'retry', 'bob')).toMatchObject({ code: 0, stdout: '1 transaction applied\n' });
  expect(await balanceOf('bob')).toBe('19000.00');

  await setAside('ghost', '-250');
  expect(await spill('set-aside', 'move', 'ghost', 'a', 'bob', '--why', 'case 1')).toMatchObject({ code: 0 });
  expect(await balanceOf('bob')).toBe('18997.50');
}, 60_000);

test('a mapping that contradicts the cluster is refused, and nothing is changed', async () => {
  await setAside('carol', '700');
  await giveRow('carol', '0');
  await giveRow('suspense', '0');
  for (const command of [
    ['retry', '--all'],
    ['move', 'carol', 'a', 'suspense', '--why', 'case 2'],
  ]) {
    const said = await spill('set-aside', ...command, '--balance-type', 'int8', '--minor-units', '0');
    expect(said).toMatchObject({ code: 2, stdout: '' });
    expect(said.stderr).toMatch(
      /^spill: balance_type is int8: this cluster has numeric, fixed at its first start; .*\nminor_units is 0: this cluster has 2, .*\n$/,
    );
  }
  const other = await spill('set-aside', 'retry', '--all', '--table', 'bank.accounts', '--id-type', 'uuid');
  expect(other.stderr).toMatch(/table is bank.accounts: this cluster has accounts.*\n.*id_type is uuid: .* has text/);
  expect(await balanceOf('carol')).toBe('0.00');
  expect(await balanceOf('suspense')).toBe('0.00');

  const same = ['--balance-type', 'numeric', '--minor-units', '2'];
  expect(await spill('set-aside', 'retry', 'carol', ...same)).toMatchObject({ code: 0 });
  expect(await balanceOf('carol')).toBe('7.00');
}, 60_000);

test('without the cluster, or with the one of another database, nothing is applied', async () => {
  await setAside('dora', '300');
  await giveRow('dora', '0');
  const away = await spill('set-aside', 'retry', 'dora', '--nats', 'nats://127.0.0.1:1');
  expect(away).toMatchObject({ code: 3, stdout: '' });
  expect(away.stderr).toMatch(/no NATS server answers at nats:\/\/127.0.0.1:1 .*"spill-node start".*--nats/);
  const strange = await spill('set-aside', 'retry', 'dora', '--prefix', 'other');
  expect(strange).toMatchObject({ code: 3, stdout: '' });
  expect(strange.stderr).toMatch(/no spill cluster with the prefix other.*--nats/);

  const otherUrl = await postgres.createDatabase('other');
  const other = new pg.Client(otherUrl);
  await other.connect();
  try {
    await other.query('CREATE TABLE accounts (id text PRIMARY KEY, balance bigint NOT NULL)');
    expect(await runSpill(['schema', 'apply', '--database-url', otherUrl])).toMatchObject({ code: 0 });
  } finally {
    await other.end();
  }
  const mixed = await spill('set-aside', 'retry', '--all', '--database-url', otherUrl);
  expect(mixed).toMatchObject({ code: 2, stdout: '' });
  expect(mixed.stderr).toMatch(/holds nothing that the cluster at nats:.* has folded.*--nats.*--database-url/);
  expect(await balanceOf('dora')).toBe('0.00');
}, 60_000);
