import { type DoctorFinding, PostgresDataTable, type RunDoctor, runDoctor } from '@spill/node';
import { connect } from 'nats';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { checkClocks } from '../../packages/node/dist/doctor/check-clocks.js';
import { DoctorFindings } from '../../packages/node/dist/doctor/doctor-finding.js';
import { query, until } from '../support/fault.js';
import { PLAIN_MAPPING } from '../support/plain-mapping.js';
import { startPostgres, type TestPostgres } from '../support/postgres.js';
import { startNode, type TestNode } from '../support/spill-node.js';

let postgres: TestPostgres;
let node: TestNode | null = null;
let table: PostgresDataTable | null = null;
let databases = 0;

beforeAll(async () => {
  postgres = await startPostgres({ fsync: false });
});

afterEach(async () => {
  await node?.dispose();
  await table?.close();
  node = null;
  table = null;
});

afterAll(() => postgres.stop());

async function freshDatabase(): Promise<string> {
  const databaseUrl = await postgres.createDatabase(`doctor_${++databases}`);
  const connection = { connectionString: databaseUrl };
  await query(connection, 'CREATE TABLE accounts (id text PRIMARY KEY, balance bigint NOT NULL)');
  await query(connection, "INSERT INTO accounts VALUES ('a', 0)");
  table = new PostgresDataTable({ connection, mapping: PLAIN_MAPPING });
  return databaseUrl;
}

function ask(part: Partial<RunDoctor> = {}): Promise<DoctorFinding[]> {
  return runDoctor({
    servers: node?.natsUrl ?? 'nats://127.0.0.1:1',
    prefix: 'spill',
    monitorUrl: null,
    dataDir: node?.dataDir ?? null,
    database: { kind: 'postgres', table: table as PostgresDataTable },
    idsMax: 20_000_000,
    pendingBytesMax: 2 ** 30,
    maxClockSkewMs: 60_000,
    ...part,
  });
}

function said(findings: readonly DoctorFinding[], check: string): string {
  return findings
    .filter((finding) => finding.check === check)
    .map(({ severity, message }) => `${severity}: ${message}`)
    .join('\n');
}

async function submit(natsUrl: string, transactions: readonly object[]): Promise<void> {
  const nc = await connect({ servers: natsUrl });
  try {
    for (const transaction of transactions) {
      const reply = await nc.request('spill.transactions.submit', JSON.stringify(transaction), { timeout: 10_000 });
      expect(reply.json()).toMatchObject({ status: 'stored' });
    }
    await nc.request('spill.supervisor.fold', '{}', { timeout: 20_000 });
  } finally {
    await nc.close();
  }
}

describe('doctor', () => {
  test('says ok of everything that is well', async () => {
    node = await startNode({ databaseUrl: await freshDatabase(), args: ['--apply-schema'] });
    await submit(node.natsUrl, [{ id: 't1', account: 'a', amount: 5 }]);
    const findings = await ask();
    expect(findings.filter(({ severity, check }) => severity !== 'ok' && check !== 'disk')).toEqual([]);
    expect(said(findings, 'nats')).toMatch(/^ok: nats-server 2\./);
    expect(said(findings, 'sync')).toContain('an acknowledgement means an fsync');
    for (const shard of [1, 2, 3]) expect(said(findings, `shard ${shard}`)).toMatch(/open on node .*, pid \d+/);
    expect(said(await ask({ dataDir: null }), 'sync')).toMatch(/^warn: it cannot be seen from here/);
    expect(said(findings, 'clocks')).toMatch(/this machine, nats-server, the database, node .+: within \d+ ms/);
  });

  test('tells what is set aside, what is a conflict, a process that is gone, a configuration that was changed', async () => {
    node = await startNode({ databaseUrl: await freshDatabase(), args: ['--apply-schema'] });
    await submit(node.natsUrl, [
      { id: 't1', account: 'nobody', amount: 5 },
      { id: 't2', account: 'a', amount: 5 },
      { id: 't2', account: 'a', amount: -7 },
    ]);
    let findings = await ask();
    expect(said(findings, 'set aside')).toMatch(/^warn: 1 transaction stored .*row_missing 1.*spill set-aside list/);
    expect(said(findings, 'conflicts')).toMatch(/^error: 1 transaction with .*spill conflicts list/);

    const nc = await connect({ servers: node.natsUrl });
    const jsm = await nc.jetstreamManager();
    const { config } = await jsm.streams.info('SPILL_2');
    await jsm.streams.update('SPILL_2', { ...config, max_age: 3_600_000_000_000 });
    await nc.close();
    await until('the shard has noticed', async () => {
      findings = await ask();
      return said(findings, 'shard 2').includes('damaged, it takes and folds nothing');
    });
    expect(said(findings, 'shard 2')).toMatch(/max_age is 3600000000000, there must be no limit/);

    process.kill(node.childPids()['shard-1'] as number, 'SIGSTOP');
    findings = await ask();
    expect(said(findings, 'shard 1')).toMatch(
      /^error: its process does not answer|^error: no process|^warn: it serves/,
    );
  });

  test('looks at the database even where no server answers, and the other way round', async () => {
    await freshDatabase();
    const nothing = await ask();
    expect(said(nothing, 'nats')).toMatch(/^error: no NATS server answers at nats:\/\/127.0.0.1:1/);
    expect(said(nothing, 'database')).toMatch(/^error: .*spill schema apply/);
    await (table as PostgresDataTable).applySchema();
    const embedded = await ask({ database: { kind: 'embedded', table: table as PostgresDataTable } });
    expect(said(embedded, 'database')).toMatch(/^warn: the embedded PGlite is for trying out/);

    node = await startNode({ databaseUrl: await freshDatabase(), args: ['--apply-schema'] });
    const away = new PostgresDataTable({
      connection: { connectionString: 'postgres://spill@127.0.0.1:1/x' },
      mapping: PLAIN_MAPPING,
    });
    try {
      const findings = await ask({ database: { kind: 'postgres', table: away } });
      expect(said(findings, 'database')).toMatch(/^error: .*nothing is folded until it is back/);
      expect(said(findings, 'shard 1')).toMatch(/^ok/);
    } finally {
      await away.close();
    }
  });

  test('tells clocks that are apart', () => {
    const findings = new DoctorFindings();
    checkClocks(findings, [{ name: 'nats-server', aheadMicros: 70_000_000 }], 60_000);
    checkClocks(findings, [{ name: 'the database', aheadMicros: -40_000_000 }], 60_000);
    expect(findings.all.map(({ severity, message }) => `${severity}: ${message}`)).toEqual([
      'error: the clock of nats-server is 70000 ms ahead of that of this machine, max_clock_skew is 60000 ms: horizons stand still, and right timestamps may be refused. Let NTP set them',
      'warn: the clock of this machine is 40000 ms ahead of that of the database, half of max_clock_skew (60000 ms): let NTP set them',
    ]);
  });
});
