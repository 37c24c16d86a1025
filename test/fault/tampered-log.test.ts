/**
 * A log that is not as it was written: the shard refuses to serve and says what is missing, `repair` with the loss
 * accepted brings it back, the loss stays on record, and nothing is counted twice.
 */
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readRecord, writeRecord } from '@spill/core';
import { PostgresDataTable, type RepairReport, repairOverNats, runDoctor, type VerifyReport } from '@spill/node';
import { connect, headers, type NatsConnection } from 'nats';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { provideNatsServer } from '../../packages/node/dist/nats/provide-nats-server.js';
import { batchOf, rowsOf } from '../support/batch-rows.js';
import { query, until } from '../support/fault.js';
import { PLAIN_MAPPING } from '../support/plain-mapping.js';
import { startPostgres, type TestPostgres } from '../support/postgres.js';
import { startNode, type TestNode } from '../support/spill-node.js';
import { managerOf, onJetStreamFolder, recordsOf, replaceLog } from '../support/tamper-log.js';

const POOLS = {
  credit: { shard: 1, account: 'c', amount: 5n },
  debit: { shard: 2, account: 'd', amount: -3n },
  large: { shard: 3, account: 'l', amount: 2_000_000n },
};
type PoolName = keyof typeof POOLS;
const ALL: readonly PoolName[] = ['credit', 'debit', 'large'];

let postgres: TestPostgres;
let binary: string;
let databases = 0;
let cluster: Cluster | null = null;

beforeAll(async () => {
  postgres = await startPostgres({ fsync: false });
  binary = (await provideNatsServer()).path;
});

afterEach(async () => {
  await cluster?.dispose();
  cluster = null;
});

afterAll(() => postgres.stop());

interface Shown {
  readonly id: number;
  readonly state: string;
  readonly reason?: string;
  readonly log_id: string;
}

/** One node on PostgreSQL, and what it was told and has answered. */
class Cluster {
  nc!: NatsConnection;
  readonly acknowledged = new Map<string, bigint>();
  private next = 1;
  readonly table: PostgresDataTable;
  /** Copies of the folder, to be put back. */
  private readonly copies: string[] = [];

  private constructor(
    readonly node: TestNode,
    readonly databaseUrl: string,
  ) {
    this.table = new PostgresDataTable({ connection: { connectionString: databaseUrl }, mapping: PLAIN_MAPPING });
  }

  static async start(): Promise<Cluster> {
    const databaseUrl = await postgres.createDatabase(`tampered_${++databases}`);
    const connection = { connectionString: databaseUrl };
    await query(connection, 'CREATE TABLE accounts (id text PRIMARY KEY, balance bigint NOT NULL)');
    await query(connection, "INSERT INTO accounts VALUES ('c', 0), ('d', 0), ('l', 0)");
    const node = await startNode({ databaseUrl, shards: 3, args: ['--apply-schema'] });
    const started = new Cluster(node, databaseUrl);
    await started.connect();
    return started;
  }

  async connect(): Promise<void> {
    this.nc = await connect({ servers: this.node.natsUrl, maxReconnectAttempts: -1, reconnectTimeWait: 100 });
  }

  async ask<T>(subject: string, body: unknown, deadlineMs = 30_000): Promise<T> {
    const head = headers();
    head.set('Spill-Deadline-Ms', String(deadlineMs));
    const reply = await this.nc.request(subject, JSON.stringify(body), { timeout: deadlineMs + 2_000, headers: head });
    return reply.json<T>();
  }

  /** Several records of a few transactions each. */
  async submit(pools: readonly PoolName[], records = 6): Promise<void> {
    for (let record = 0; record < records; record++) {
      for (const pool of pools) {
        const { account, amount } = POOLS[pool];
        const rows = [1, 2, 3].map(() => ({ id: `t${this.next++}`, account, amount: amount.toString() }));
        const { results } = await this.ask<{ results: { status: string }[] }>('spill.transactions.submit', rows);
        results.forEach(({ status }, i) => {
          // A process that is just being started leaves the direct path.
          expect(status).toMatch(/^(stored|applied)$/);
          this.acknowledged.set(rows[i]!.id, amount);
        });
      }
    }
  }

  async fold(): Promise<void> {
    expect(await this.ask('spill.supervisor.fold', {})).not.toHaveProperty('error');
  }

  async shard(id: number): Promise<Shown> {
    const { shards } = await this.ask<{ shards: Shown[] }>('spill.supervisor.topology', {});
    return shards.find((shard) => shard.id === id) as Shown;
  }

  async untilState(id: number, state: string): Promise<Shown> {
    let shown: Shown | undefined;
    try {
      await until(`shard ${id} is ${state}`, async () => {
        shown = await this.shard(id);
        return shown.state === state;
      });
    } catch (error) {
      throw new Error(`${JSON.stringify(shown)}\n${this.node.stderr().slice(-8_000)}`, { cause: error });
    }
    return shown as Shown;
  }

  async verify(): Promise<VerifyReport> {
    return this.ask<VerifyReport>('spill.supervisor.verify', {});
  }

  doctor(): ReturnType<typeof runDoctor> {
    return runDoctor({
      servers: this.node.natsUrl,
      prefix: 'spill',
      monitorUrl: null,
      dataDir: this.node.dataDir,
      database: { kind: 'postgres', table: this.table },
      idsMax: 20_000_000,
      pendingBytesMax: 2 ** 30,
      maxClockSkewMs: 60_000,
    });
  }

  repair(shard: number, acceptLoss: boolean): Promise<RepairReport> {
    return repairOverNats({
      servers: this.node.natsUrl,
      prefix: 'spill',
      table: this.table,
      shard,
      acceptLoss,
      acceptNewLedger: false,
      note: { who: 'the test', why: 'it broke the log itself' },
      dataDir: this.node.dataDir,
    });
  }

  async stop(): Promise<void> {
    await this.nc.close();
    expect(await this.node.stop()).toBe(0);
  }

  async restart(): Promise<void> {
    await this.node.restart();
    await this.connect();
  }

  copy(part: string): string {
    const copy = mkdtempSync(join(tmpdir(), 'spill-older-'));
    this.copies.push(copy);
    cpSync(join(this.node.dataDir, part), copy, { recursive: true });
    return copy;
  }

  putBack(copy: string, part: string): void {
    const folder = join(this.node.dataDir, part);
    rmSync(folder, { recursive: true, force: true });
    cpSync(copy, folder, { recursive: true });
  }

  /** A shard that is damaged says so to everybody who asks. */
  async refuses(pool: PoolName, missing: RegExp): Promise<void> {
    const { shard, account, amount } = POOLS[pool];
    const shown = await this.untilState(shard, 'damaged');
    expect(shown.reason).toMatch(missing);
    const body = { id: `refused-${pool}`, account, amount: amount.toString() };
    await until(`shard ${shard} answers that it is unavailable, and why`, async () => {
      const answer = await this.ask<{ status: string; error?: { code: string; message: string } }>(
        'spill.transactions.submit',
        body,
        2_000,
      );
      expect(answer.status).toBe('rejected');
      return answer.error?.code === 'unavailable' && missing.test(answer.error.message);
    });
    const said = (await this.doctor()).filter(({ severity }) => severity === 'error');
    const ofShard = said.filter(({ check }) => check === `shard ${shard}`).map(({ message }) => message);
    expect(ofShard.join('\n')).toMatch(missing);
    expect(ofShard.join('\n')).toContain(`spill repair ${shard}`);
    const report = await this.verify();
    expect(report.ok).toBe(false);
    expect(report.examples.damaged.map(({ message }) => message).join('\n')).toMatch(missing);
  }

  async repaired(pool: PoolName): Promise<RepairReport> {
    const { shard } = POOLS[pool];
    const told = await this.repair(shard, false);
    expect(told).toMatchObject({ repaired: false, log_id: null });
    expect((await this.shard(shard)).state).toBe('damaged');
    const report = await this.repair(shard, true);
    expect(report.repaired).toBe(true);
    expect(report.lost).toEqual(told.lost);
    const shown = await this.untilState(shard, 'open');
    expect(shown.log_id).toBe(report.log_id);
    expect(shown.reason).toBeUndefined();
    return report;
  }

  /** All is well again: new transactions are taken and folded, the loss is on record, nothing counts twice. */
  async isWell(pools: readonly PoolName[], mayBeGone: ReadonlySet<string> = new Set()): Promise<void> {
    // What is kept is folded again by itself; until then no balance is answered, and then the right one.
    const balances = await Promise.all(ALL.map((pool) => this.untilBalance(POOLS[pool].account)));
    await this.fold();
    expect(await Promise.all(ALL.map((pool) => this.untilBalance(POOLS[pool].account)))).toEqual(balances);
    await until('every shard takes transactions', async () => {
      const asked = await Promise.all(
        ALL.map((pool) =>
          this.ask<{ status: string }>('spill.transactions.submit', {
            id: `probe-${pool}`,
            account: POOLS[pool].account,
            amount: POOLS[pool].amount.toString(),
          }),
        ),
      );
      return asked.every(({ status }) => /^(stored|applied|duplicate)$/.test(status));
    });
    for (const pool of ALL) this.acknowledged.set(`probe-${pool}`, POOLS[pool].amount);
    await this.submit(ALL, 2);
    await this.fold();
    const report = await this.verify();
    expect(report, JSON.stringify(report.examples)).toMatchObject({
      lost: 0,
      duplicated: 0,
      mismatched: 0,
      damaged: 0,
      conflicts: 0,
      drift: 0,
      ok: true,
    });
    const repaired = pools.map((pool) => POOLS[pool].shard);
    expect(report.accepted_losses.map(({ shard }) => shard).sort()).toEqual(repaired);
    const actions = await this.table.listOperatorActions(10);
    expect(actions.filter(({ action }) => action === 'reset_watermark')).toHaveLength(pools.length);
    expect(actions[0]).toMatchObject({ who: 'the test', why: expect.stringContaining('it broke the log itself') });

    expect((await this.doctor()).filter(({ severity }) => severity === 'error')).toEqual([]);

    const connection = { connectionString: this.databaseUrl };
    const ledger = await query(connection, 'SELECT id, amount::text FROM spill.ledger');
    const expected = [...this.acknowledged]
      .filter(([id]) => !mayBeGone.has(id))
      .map(([id, amount]) => `${id} ${amount}`);
    const lost = new Set(expected);
    for (const row of ledger.rows) lost.delete(`${row.id} ${row.amount}`);
    expect([...lost]).toEqual([]);
    for (const row of ledger.rows) expect(this.acknowledged.get(row.id)?.toString()).toBe(row.amount);
    const { rows } = await query(
      connection,
      `SELECT a.id, a.balance::text, coalesce(sum(l.amount), 0)::text AS sum
       FROM accounts a LEFT JOIN spill.ledger l ON l.account = a.id GROUP BY a.id, a.balance`,
    );
    for (const row of rows) expect(row.balance).toBe(row.sum);
    for (const pool of ALL) {
      const { account } = POOLS[pool];
      const { balance } = await this.ask<{ balance: string }>('spill.balance.get', { account });
      expect(balance).toBe(rows.find(({ id }) => id === account)?.balance);
    }
  }

  private async untilBalance(account: string): Promise<string> {
    let balance = '';
    await until(`the balance of ${account} is answered`, async () => {
      balance = (await this.ask<{ balance?: string }>('spill.balance.get', { account }, 2_000)).balance ?? '';
      return balance !== '';
    });
    return balance;
  }

  async dispose(): Promise<void> {
    await this.nc.close();
    await this.node.dispose();
    await this.table.close();
    for (const copy of this.copies) rmSync(copy, { recursive: true, force: true });
  }
}

describe('while the node is stopped', () => {
  test('a record is altered, one is removed, and the end is cut off', { timeout: 180_000 }, async () => {
    cluster = await Cluster.start();
    await cluster.submit(ALL);
    await cluster.fold();
    await cluster.submit(ALL, 2);
    await cluster.stop();

    const mayBeGone = new Set<string>();
    let gone = 0;
    const cut = (records: readonly { bytes: Uint8Array }[]): void => {
      for (const { bytes } of records) for (const { id } of storedIn(bytes)) mayBeGone.add(id);
    };
    await onJetStreamFolder(binary, cluster.node.dataDir, async (nc) => {
      // The credit shard: the amounts of one record, everything else about it right. It was folded before.
      const credit = await recordsOf(nc, 1);
      const at = credit.findIndex(({ bytes }) => storedIn(bytes).length > 0);
      await replaceLog(
        nc,
        1,
        credit.map(({ bytes }, i) => (i === at ? withOtherAmounts(bytes) : bytes)),
      );
      // The debit shard: one folded record is gone from the middle. What is before the first that stores may be gone.
      const debit = await recordsOf(nc, 2);
      gone = debit.filter(({ bytes }) => storedIn(bytes).length > 0)[1]?.sequence ?? 0;
      await replaceLog(
        nc,
        2,
        debit.map(({ sequence, bytes }) => (sequence === gone ? null : bytes)),
      );
      // The large shard: its last three records are gone, and with them what was not folded.
      const large = await recordsOf(nc, 3);
      cut(large.slice(-3));
      await replaceLog(
        nc,
        3,
        large.slice(0, -3).map(({ bytes }) => bytes),
      );
    });
    await cluster.restart();

    await cluster.refuses('credit', /was altered|is not chained/);
    await cluster.refuses('debit', new RegExp(`record ${gone} is missing|records ${gone} to ${gone} are missing`));
    await cluster.refuses('large', /remembers record|acknowledged records are missing/);
    for (const pool of ALL) {
      const { lost, summary } = await cluster.repaired(pool);
      expect(lost.length).toBeGreaterThan(0);
      expect(summary).toMatch(/Lost: /);
    }
    expect(mayBeGone.size).toBeGreaterThan(0);
    await cluster.isWell(ALL, mayBeGone);
  });

  test('a byte of a record on the disk is another, in the middle and at the end', { timeout: 180_000 }, async () => {
    cluster = await Cluster.start();
    await cluster.submit(ALL);
    await cluster.fold();
    await cluster.stop();
    flipByte(cluster.node.dataDir, 1, 't10');
    flipByte(cluster.node.dataDir, 2, 't51');
    await cluster.restart();
    await cluster.refuses('credit', /record|log/);
    await cluster.refuses('debit', /record|log/);
    expect((await cluster.repaired('credit')).lost).toMatchObject([{ transactions: 3, sum: '15' }]);
    expect((await cluster.repaired('debit')).lost).toMatchObject([{ transactions: 3, sum: '-9' }]);
    await cluster.isWell(['credit', 'debit']);
  });

  test('an older JetStream folder is put back', { timeout: 180_000 }, async () => {
    cluster = await Cluster.start();
    await cluster.submit(ALL);
    await cluster.stop();
    const copy = cluster.copy('jetstream');
    await cluster.restart();
    await cluster.submit(ALL);
    await cluster.fold();
    await cluster.stop();
    cluster.putBack(copy, 'jetstream');
    await cluster.restart();
    for (const pool of ALL) await cluster.refuses(pool, /remembers record|older than the log/);
    for (const pool of ALL) await cluster.repaired(pool);
    await cluster.isWell(ALL);
  });

  test('an older data folder is put back, with PostgreSQL outside it', { timeout: 180_000 }, async () => {
    cluster = await Cluster.start();
    await cluster.submit(ALL);
    await cluster.stop();
    const copy = cluster.copy('.');
    await cluster.restart();
    await cluster.submit(ALL);
    await cluster.fold();
    await cluster.stop();
    cluster.putBack(copy, '.');
    await cluster.restart();
    for (const pool of ALL) await cluster.refuses(pool, /the data table/);
    for (const pool of ALL) await cluster.repaired(pool);
    await cluster.isWell(ALL);
  });
});

describe('while a shard is at work', () => {
  test('its stream is deleted', { timeout: 180_000 }, async () => {
    cluster = await Cluster.start();
    await cluster.submit(ALL);
    await cluster.fold();
    await (await managerOf(cluster.nc)).streams.delete('SPILL_1');
    await cluster.refuses('credit', /does not exist/);
    // The others go on.
    await cluster.submit(['debit', 'large'], 1);
    const { lost } = await cluster.repaired('credit');
    expect(lost[0]).toMatchObject({ from: 1, transactions: 18 });
    await cluster.isWell(['credit']);
  });

  test('only a damaged shard is repaired', async () => {
    cluster = await Cluster.start();
    await expect(cluster.repair(1, true)).rejects.toMatchObject({ code: 'conflict' });
    await expect(cluster.repair(99, true)).rejects.toMatchObject({ code: 'not_found' });
  });
});

/** In the file that the server keeps the log in: it checks each message as it reads it. */
function flipByte(dataDir: string, shard: number, id: string): void {
  const block = join(dataDir, `jetstream/jetstream/$G/streams/SPILL_${shard}/msgs/1.blk`);
  const bytes = readFileSync(block);
  const at = bytes.lastIndexOf(Buffer.from(id));
  expect(at).toBeGreaterThan(0);
  bytes[at + 1] = (bytes[at + 1] as number) ^ 1;
  writeFileSync(block, bytes);
}

function storedIn(bytes: Uint8Array): { id: string }[] {
  return readRecord(bytes).events.flatMap((event) => (event.type === 'stored' ? rowsOf(event.batch) : []));
}

function withOtherAmounts(bytes: Uint8Array): Uint8Array {
  const record = readRecord(bytes);
  const events = record.events.map((event) => {
    if (event.type !== 'stored') return event;
    const batch = batchOf(rowsOf(event.batch).map((row) => ({ ...row, amount: row.amount * 1_000n })));
    return { ...event, batch };
  });
  return writeRecord({ ...record, events });
}
