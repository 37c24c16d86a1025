import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { findEmbeddedDatabase } from '@spill/node';
import { connect } from 'nats';
import pg from 'pg';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startPostgres, type TestPostgres } from '../support/postgres.js';
import { type CliResult, runSpill, startSpill } from '../support/spill-cli.js';
import { startNode, type TestNode } from '../support/spill-node.js';

let node: TestNode;
let folder: string;
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'spill-cli-'));
  node = await startNode({ args: ['--large-threshold', '80000'] });
  await sql(`INSERT INTO accounts (id, balance) SELECT 'known-' || i, 0 FROM generate_series(0, 49) i`);
});
afterAll(async () => {
  await node?.dispose();
  rmSync(folder, { recursive: true, force: true });
});

/** One statement in the embedded database, on a connection that is closed at once: there is one session at a time. */
async function sql(statement: string): Promise<pg.QueryResult> {
  const client = new pg.Client(findEmbeddedDatabase(node.dataDir) ?? {});
  await client.connect();
  try {
    return await client.query(statement);
  } finally {
    await client.end();
  }
}

/** The command against this test's cluster. */
function spill(...args: string[]): Promise<CliResult> {
  return runSpill(args, { NATS_URL: node.natsUrl });
}

/** The command against the database of this test's node. */
function spillSql(...args: string[]): Promise<CliResult> {
  return runSpill([...args, '--data-dir', node.dataDir], { USER: 'ann' });
}

/** The command against both. */
function spillBoth(...args: string[]): Promise<CliResult> {
  return runSpill([...args, '--data-dir', node.dataDir], { NATS_URL: node.natsUrl, USER: 'ann' });
}

async function json(run: Promise<CliResult>, expectedCode = 0): Promise<Record<string, unknown>> {
  const { code, stdout, stderr } = await run;
  expect({ code, stderr: code === expectedCode ? '' : stderr }).toEqual({ code: expectedCode, stderr: '' });
  return JSON.parse(stdout);
}

async function balanceOf(account: string): Promise<Record<string, unknown>> {
  const { balances } = await json(spill('balance', account, '--json'));
  return (balances as Record<string, unknown>[])[0] as Record<string, unknown>;
}

function csv(name: string, content: string): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

test('a transaction: stored, a duplicate, an id conflict, in balance and list', async () => {
  const args = ['submit', 'known-1', '-24520', '--id', 'order-1', '--timestamp', String(Date.now() * 1_000)];
  const first = await json(spill(...args, '--json'));
  expect(first).toMatchObject({ id: 'order-1', status: 'stored', shard: expect.any(Number) });
  expect(await json(spill(...args, '--json'))).toEqual({ ...first, status: 'duplicate' });

  const conflict = await spill('submit', 'known-1', '-24521', '--id', 'order-1', '--json');
  expect(conflict).toMatchObject({ code: 1, stdout: '' });
  expect(JSON.parse(conflict.stderr)).toMatchObject({ error: { code: 'id_conflict', retryable: false } });

  const text = await spill('submit', 'known-1', '20', '--id', 'order-2');
  expect(text.stdout).toMatch(/^known-1 {2}20 {2}stored, durable\nid order-2, shard \d+, record \d+, \d{4}-/);
  expect(await balanceOf('known-1')).toMatchObject({ balance: '-24500' });

  const list = await json(spill('transactions', 'known-1', '--json'));
  expect(list).toMatchObject({
    account: 'known-1',
    transactions: [
      { id: 'order-1', amount: '-24520', timestamp: first.timestamp },
      { id: 'order-2', amount: '20' },
    ],
  });
});

test('a balance that nobody knows is told beside those that are known', async () => {
  const { code, stdout, stderr } = await spill('balance', 'known-0', 'nobody');
  expect({ code, stderr }).toEqual({ code: 1, stderr: 'spill: account is "nobody": nobody has seen it\n' });
  expect(stdout).toMatch(/^account +balance .*\nknown-0 +0 .*\n$/);
});

test('an account page by page, and all of it', async () => {
  const rows = Array.from({ length: 1_205 }, (_, i) => `page-${i},known-2,${i + 1}`);
  await json(spill('import', csv('pages.csv', `id,account,amount\n${rows.join('\n')}\n`), '--json'));
  const ids = rows.map((row) => row.split(',')[0]);

  const first = await json(spill('transactions', 'known-2', '--limit', '5', '--json'));
  const second = await json(spill('transactions', 'known-2', '--limit', '5', '--after', String(first.next), '--json'));
  const pages = [first, second].flatMap((page) => page.transactions as { id: string; timestamp: number }[]);
  expect(pages.map(({ id }) => id)).toEqual(ids.slice(0, 10));

  const all = await json(spill('transactions', 'known-2', '--all', '--json'));
  expect((all.transactions as { id: string }[]).map(({ id }) => id)).toEqual(ids);
  expect(all).not.toHaveProperty('next');

  const [from, to] = [pages[3]?.timestamp, pages[6]?.timestamp].map(String) as [string, string];
  const between = await json(spill('transactions', 'known-2', '--from', from, '--to', to, '--json'));
  expect((between.transactions as { id: string }[]).map(({ id }) => id)).toEqual(ids.slice(3, 6));

  const text = await spill('transactions', 'known-2', '--limit', '2');
  expect(text.stdout.trimEnd().split('\n')).toHaveLength(3);
  expect(text.stderr).toMatch(/^there are more: --all, or --after \S+\n$/);
});

describe('import', () => {
  test('takes every form of a right file, and a second time finds duplicates', async () => {
    const path = csv('forms.csv', '\ufeffid,account,amount\r\n\r\n"f-1","known-3",100\r\nf-2,known-3,-30\r\n');
    const { code, stdout, stderr } = await spill('import', path);
    expect(code).toBe(0);
    expect(stdout).toMatch(/forms.csv: 2 rows in .* s.*\n {2}stored +2\n {2}duplicate +0\n {2}rejected +0\n$/);
    expect(stderr).toBe('forms.csv: 2 of 2 rows, 0 duplicate, 0 rejected\n');
    expect(await json(spill('import', path, '--json'))).toMatchObject({
      rows: 2,
      stored: 0,
      duplicate: 2,
      rejected: 0,
    });
    expect(await balanceOf('known-3')).toMatchObject({ balance: '70' });
    expect(existsSync(`${path}.spill-import.jsonl`)).toBe(false);
  });

  test('lists rejects by line, with what is wrong, and stores the others', async () => {
    const lines = [
      'id,account,amount,timestamp',
      'r-1,known-4,1,',
      'r-2,known-4,0,',
      '',
      `${'i'.repeat(65)},known-4,1,`,
      'r-1,known-4,2,',
      'r-3,known-4,5,2020-01-01T00:00:00Z',
      'r-4,known-4,7,',
    ];
    const path = csv('rejects.csv', lines.join('\n'));
    const report = await json(spill('import', path, '--json'), 1);
    expect(report).toMatchObject({ rows: 6, stored: 2, rejected: 4 });
    expect(report.rejects).toMatchObject([
      { line: 3, id: 'r-2', code: 'invalid_transaction', message: 'amount is "0": must not be 0' },
      { line: 5, id: 'i'.repeat(64), code: 'invalid_transaction' },
      { line: 6, id: 'r-1', code: 'id_conflict' },
      { line: 7, id: 'r-3', code: 'expired' },
    ]);
    expect(await balanceOf('known-4')).toMatchObject({ balance: '8' });
    const text = await spill('import', path);
    expect(text.code).toBe(1);
    expect(text.stdout).toMatch(/^ +3 {2}r-2 .*invalid_transaction {2}amount is "0": must not be 0$/m);
  });
});

describe('the cluster', () => {
  test('topology: a picture, or JSON', async () => {
    const { code, stdout } = await spill('topology');
    expect(code).toBe(0);
    expect(stdout).toMatch(
      /^Epoch \d+: 1 node, 3 shards\. Amounts of 80,000 minor units and more go to the pool "large"/,
    );
    for (const pool of ['credit', 'debit', 'large'])
      expect(stdout).toMatch(new RegExp(`^ {2}${pool} +├─+ \\d ─+┤$`, 'm'));
    expect(await json(spill('topology', '--json'))).toMatchObject({
      hash: 'xxh64',
      slot_count: 1024,
      large_threshold: '80000',
      shards: [{ pool: 'credit' }, { pool: 'debit' }, { pool: 'large' }],
    });
  });

  test('shards: a list, and where one is', async () => {
    const { shards } = await json(spill('shard', 'list', '--json'));
    expect(shards).toMatchObject([{ state: 'open', performance: { pid: expect.any(Number) } }, {}, {}]);
    expect((await spill('shard', 'list')).stdout.trimEnd().split('\n')).toHaveLength(4);
    const located = await json(spill('shard', 'locate', '2', '--json'));
    expect(located).toMatchObject({ shard: 2, pid: node.childPids()['shard-2'], stream: 'SPILL_2', replicas: 1 });
    expect((await spill('shard', 'locate', '2')).stdout).toContain(String(located.subject));
    expect(await spill('shard', 'locate', '99')).toMatchObject({ code: 1, stderr: expect.stringContaining('no such') });
  });

  test('performance of every process', async () => {
    const { stdout } = await spill('performance');
    expect(stdout).toMatch(/^\S+ +router +\d+ +serving/m);
    expect(stdout).toMatch(/^\S+ +shard 3 +\d+ +serving/m);
  });

  test('fold: everything stored before is in the rows afterwards', async () => {
    await json(spill('submit', 'known-6', '41', '--json'));
    const { code, stdout } = await spill('fold');
    expect(code).toBe(0);
    expect(stdout).toMatch(/^[\d,]+ transactions? folded/);
    expect(await balanceOf('known-6')).toMatchObject({ balance: '41', row: '41', pending: '0', set_aside: '0' });
    expect(await json(spill('fold', '--shard', '1', '--json'))).toMatchObject({ folded: 0, set_aside: 0 });
    expect(await spill('fold', '--shard', '99')).toMatchObject({ code: 1 });
  });
});

describe('what is set aside', () => {
  test('is listed, retried, moved and written off, with who and why on record', async () => {
    for (const [id, amount] of [
      ['a', '5'],
      ['b', '7'],
      ['c', '11'],
    ] as const) {
      await json(spill('submit', 'ghost', amount, '--id', id, '--json'));
    }
    await json(spill('fold', '--json'));
    const { set_aside: listed } = await json(spillSql('set-aside', 'list', 'ghost', '--json'));
    expect(listed).toMatchObject([
      { account: 'ghost', id: 'a', amount: '5', reason: 'row_missing', state: 'set_aside' },
      { id: 'b' },
      { id: 'c' },
    ]);
    expect((await spillSql('set-aside', 'list')).stdout).toMatch(/^ghost +a +5 .*row missing/m);
    expect(await spillBoth('set-aside', 'retry', 'ghost')).toMatchObject({
      code: 1,
      stdout: '0 transactions applied, 3 still set aside: see "spill set-aside list"\n',
    });

    const moved = await json(spillBoth('set-aside', 'move', 'ghost', 'a', 'known-7', '--why', 'case 1', '--json'));
    expect(moved).toMatchObject({ account: 'ghost', id: 'a', state: 'applied', applied_account: 'known-7' });
    expect(await balanceOf('known-7')).toMatchObject({ row: '5' });
    const off = await json(
      spillSql('set-aside', 'write-off', 'ghost', 'b', '--why', 'case 2', '--who', 'bob', '--json'),
    );
    expect(off).toMatchObject({ id: 'b', state: 'written_off' });
    expect(await balanceOf('ghost')).toMatchObject({ balance: '11', set_aside: '11', row: null });
    // Once is enough.
    expect(await spillSql('set-aside', 'write-off', 'ghost', 'a', '--why', 'x')).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/^spill: .*not set aside any more: it is applied\n$/),
    });
    expect(await spillBoth('set-aside', 'move', 'ghost', 'none', 'known-7', '--why', 'x')).toMatchObject({ code: 1 });

    await sql(`INSERT INTO accounts (id, balance) VALUES ('ghost', 0)`);
    // Or spill itself has tried again by now.
    expect(await json(spillBoth('set-aside', 'retry', 'ghost', '--json'))).toMatchObject({ remaining: 0 });
    expect(await balanceOf('ghost')).toMatchObject({ balance: '11', set_aside: '0', row: '11' });
    expect((await spillSql('set-aside', 'list', 'ghost')).stdout).toBe('nothing is set aside\n');

    const actions = await sql('SELECT who, why, action FROM spill.operator_action ORDER BY at');
    expect(actions.rows).toMatchObject([
      { who: 'ann', why: 'case 1', action: 'move' },
      { who: 'bob', why: 'case 2', action: 'write_off' },
    ]);
  }, 120_000);
});

describe('a conflict', () => {
  test('is found by verify, listed, and resolved once', async () => {
    // Two signs, two pools: neither shard knows of the other's.
    await json(spill('submit', 'known-8', '5', '--id', 'both', '--json'));
    await json(spill('fold', '--json'));
    await json(spill('submit', 'known-8', '-5', '--id', 'both', '--json'));
    await json(spill('fold', '--json'));
    expect(await balanceOf('known-8')).toMatchObject({ balance: '5', row: '5' });
    const verified = await spill('verify', 'known-8');
    // It is accounted for, and told; that it is open is an alarm of the doctor's.
    expect(verified.code).toBe(0);
    expect(verified.stdout).toMatch(/^1 conflict: .*spill conflicts list/);
    expect(verified.stdout).toMatch(/^nothing lost, nothing twice: /m);

    const { conflicts } = await json(spillSql('conflicts', 'list', '--json'));
    expect(conflicts).toMatchObject([
      { account: 'known-8', id: 'both', amount: '-5', ledger_amount: '5', state: 'open' },
    ]);
    const [{ place }] = conflicts as [{ place: string }];
    expect((await spillSql('conflicts', 'list')).stdout).toContain(place);
    expect(await json(spillSql('conflicts', 'resolve', place, '--why', 'known', '--json'))).toMatchObject({
      state: 'resolved',
    });
    expect(await spillSql('conflicts', 'resolve', place, '--why', 'known')).toMatchObject({ code: 1 });
    expect((await spillSql('conflicts', 'list')).stdout).toBe('there are no conflicts\n');
    expect(await json(spillSql('conflicts', 'list', '--all', '--json'))).toMatchObject({ conflicts: [{ place }] });
  });
});

describe('an import that is cut off', () => {
  test('killed half-way, goes on where it was: every row once, with its first stamp', async () => {
    const count = 30_000;
    const rows = Array.from({ length: count }, (_, i) => `kill-${i},known-${10 + (i % 40)},${(i % 7) - 9}`);
    const path = csv('kill.csv', `id,account,amount\n${rows.join('\n')}\n`);
    const journal = `${path}.spill-import.jsonl`;
    const { child, ended } = startSpill(['import', path], { NATS_URL: node.natsUrl });
    await until(() => existsSync(journal) && /"answered":[4-9]/.test(readFileSync(journal, 'utf8')));
    child.kill('SIGKILL');
    expect(await ended).toMatchObject({ code: null });
    const left = readFileSync(journal, 'utf8').split('\n');
    const stamps = left.filter((line) => line.startsWith('{"sent"')).map((line) => JSON.parse(line));
    const answered = left.filter((line) => line.startsWith('{"answered"')).length;
    expect(answered).toBeLessThan(count / 1_000);

    const report = await json(spill('import', path, '--json'));
    expect(report).toMatchObject({ rows: count, rejected: 0, resumed: answered * 1_000 });
    expect((report.stored as number) + (report.duplicate as number)).toBe(count);
    expect(existsSync(journal)).toBe(false);

    const expected = new Map<string, number>();
    for (const row of rows) {
      const [, account, amount] = row.split(',') as [string, string, string];
      expected.set(account, (expected.get(account) ?? 0) + Number(amount));
    }
    const { balances } = await json(spill('balance', ...expected.keys(), '--timeout', '60', '--json'));
    const actual = (balances as { account: string; balance: string }[]).map((one) => [one.account, one.balance]);
    expect(actual).toEqual([...expected].map(([account, sum]) => [account, String(sum)]));

    // Rows that had been sent before the kill have the stamps that the journal had for them.
    const { transactions } = await json(spill('transactions', 'known-10', '--all', '--timeout', '60', '--json'));
    const at = new Map((transactions as { id: string; timestamp: number }[]).map((row) => [row.id, row.timestamp]));
    for (const { sent, stamp } of stamps) expect(at.get(`kill-${sent * 1_000}`)).toBe(stamp);
  }, 120_000);

  test('stopped by SIGINT, ends in order with 3 and can go on', async () => {
    const rows = Array.from({ length: 50_000 }, (_, i) => `int-${i},known-5,1`);
    const path = csv('int.csv', `id,account,amount\n${rows.join('\n')}\n`);
    const { child, ended } = startSpill(['import', path], { NATS_URL: node.natsUrl });
    await until(() => existsSync(`${path}.spill-import.jsonl`));
    child.kill('SIGINT');
    const { code, stderr } = await ended;
    expect(code).toBe(3);
    expect(stderr).toMatch(/spill: stopped after \d+ rows; run the same command again: it goes on where it stopped\n$/);
    // Another state of the file is not what was begun.
    writeFileSync(path, `id,account,amount\n${rows.slice(1).join('\n')}\n`);
    expect(await spill('import', path)).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('was changed since'),
    });
  });
});

test('after all that, verify finds nothing', async () => {
  const { code, stdout } = await spill('verify', '--timeout', '120');
  expect({ code, stdout }).toEqual({
    code: 0,
    stdout: expect.stringMatching(/^nothing lost, nothing twice: [\d,]+ transactions of \d+ accounts checked, /),
  });
});

test('doctor looks at everything, and only warns where it works', async () => {
  const well = await json(spillBoth('doctor', '--json'));
  const findings = well.findings as { check: string; severity: string; message: string }[];
  const checks = findings.map(({ check }) => check);
  for (const check of ['nats', 'sync', 'topology', 'router', 'database', 'shard 1', 'shard 2', 'shard 3']) {
    expect(checks).toContain(check);
  }
  expect(findings.filter(({ severity }) => severity === 'error')).toEqual([]);
  expect(findings.find(({ check }) => check === 'database')).toMatchObject({
    severity: 'warn',
    message: expect.stringContaining('for trying out'),
  });
  expect(await spillBoth('doctor', '--strict')).toMatchObject({ code: 4 });

  const away = await runSpill(['doctor', '--nats', 'nats://127.0.0.1:1', '--data-dir', node.dataDir]);
  expect(away).toMatchObject({ code: 4, stderr: '' });
  expect(away.stdout).toMatch(/^error {2}nats .*no NATS server answers at nats:\/\/127\.0\.0\.1:1/m);
});

test('a log that is gone: topology says so, repair tells the loss, and goes on where it is accepted', async () => {
  await json(spill('submit', 'known-9', '80000', '--json'));
  await json(spill('fold', '--json'));
  const shard = (await json(spill('topology', '--json'))).shards as { id: number; pool: string }[];
  const { id } = shard.find(({ pool }) => pool === 'large') as { id: number };
  const early = await spillBoth('repair', String(id));
  expect(early).toMatchObject({
    code: 1,
    stderr: `spill: shard ${id} is open, not damaged: there is nothing to repair\n`,
  });

  const nc = await connect({ servers: node.natsUrl });
  await (await nc.jetstreamManager()).streams.delete(`SPILL_${id}`);
  await nc.close();
  let picture = '';
  for (const end = performance.now() + 60_000; !picture.includes('is damaged'); ) {
    if (performance.now() > end) throw new Error(`the loss was not noticed:\n${picture}`);
    // An append is what notices it at once; none can succeed.
    await spill('submit', 'known-9', '80000', '--id', 'lost', '--timeout', '1');
    picture = (await spill('topology')).stdout;
  }
  expect(picture).toMatch(
    new RegExp(`^ {2}shard ${id} \\(large\\) is damaged: .*; see "spill doctor" and "spill repair`, 'm'),
  );

  const sick = await spillBoth('doctor');
  expect(sick.code).toBe(4);
  expect(sick.stdout).toMatch(new RegExp(`^error {2}shard ${id} `, 'm'));

  const told = await spillBoth('repair', String(id));
  expect(told).toMatchObject({ code: 4, stderr: '' });
  expect(told.stdout).toMatch(new RegExp(`^shard ${id} was damaged: .*\nlog [0-9a-f]{32} keeps no record`));
  expect(told.stdout).toContain(`nothing was changed; to go on without that: spill repair ${id} --accept-loss --why`);
  const repaired = await json(
    spillBoth('repair', String(id), '--accept-loss', '--why', 'the stream was deleted', '--json'),
  );
  expect(repaired).toMatchObject({ shard: id, repaired: true, log_id: expect.stringMatching(/^[0-9a-f]{32}$/) });
  expect(await json(spill('submit', 'known-9', '80000', '--id', 'lost', '--timeout', '60', '--json'))).toMatchObject({
    id: 'lost',
  });
  expect(await balanceOf('known-9')).toMatchObject({ balance: '160000' });
}, 180_000);

describe('schema apply', () => {
  let postgres: TestPostgres;
  beforeAll(async () => {
    postgres = await startPostgres({ fsync: false });
  });
  afterAll(() => postgres?.stop());

  async function query(url: string, statement: string): Promise<void> {
    const client = new pg.Client(url);
    await client.connect();
    try {
      await client.query(statement);
    } finally {
      await client.end();
    }
  }

  test('prints what it would do as a script, then does it, then has nothing to do', async () => {
    const url = await postgres.createDatabase('bank');
    await query(url, 'CREATE ROLE app LOGIN; CREATE TABLE konto (nr int8 PRIMARY KEY, saldo numeric(20, 2) NOT NULL)');
    const config = csv(
      'bank.json',
      JSON.stringify({
        database_url: url,
        table: 'konto',
        id_column: 'nr',
        id_type: 'int8',
        balance_column: 'saldo',
        balance_type: 'numeric',
        minor_units: 2,
      }),
    );
    const apply = (...args: string[]) =>
      runSpill(['schema', 'apply', '--config', config, '--grant-to', 'app', ...args]);
    const dry = await apply('--dry-run');
    expect(dry.code).toBe(0);
    expect(dry.stdout).toMatch(/CREATE SCHEMA/);
    expect(dry.stdout).toMatch(/^GRANT SELECT, UPDATE ON .*konto.* TO "?app"?;$/m);
    await query(url, 'BEGIN; ROLLBACK');

    // The script is what would be done: run by hand, it leaves nothing to do.
    const byHand = await postgres.createDatabase('by_hand');
    await query(byHand, 'CREATE TABLE konto (nr int8 PRIMARY KEY, saldo numeric(20, 2) NOT NULL)');
    await query(byHand, dry.stdout);
    expect(await apply('--database-url', byHand, '--dry-run')).toMatchObject({ stdout: '-- nothing is to be done\n' });

    expect(await apply()).toMatchObject({ code: 0, stdout: expect.stringMatching(/^applied \d+ statements\n$/) });
    expect(await apply()).toMatchObject({ code: 0, stdout: 'nothing was to be done\n' });
    expect(await json(apply('--json'))).toEqual({ applied: true, statements: [] });
  });

  test('a table that does not fit is refused with the way out', async () => {
    const url = await postgres.createDatabase('other');
    await query(url, 'CREATE TABLE accounts (id text PRIMARY KEY, balance text)');
    for (const args of [[], ['--dry-run']]) {
      const { code, stderr } = await runSpill(['schema', 'apply', ...args, '--database-url', url]);
      expect(stderr).toContain('accounts.balance is of type text');
      expect(stderr).not.toMatch(/^ {4}at /m);
      expect(code).toBe(1);
    }
    const { code, stderr } = await runSpill(['schema', 'apply', '--database-url', url, '--table', 'none']);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^spill: .*none/);
  });
});

/** A condition that another process brings about, looked at until then. */
async function until(condition: () => boolean): Promise<void> {
  const end = performance.now() + 30_000;
  while (!condition()) {
    if (performance.now() > end) throw new Error('it did not happen within 30 s');
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}
