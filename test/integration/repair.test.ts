/**
 * Repair cut short at every step and run again, against a real nats-server: one `rebased`, one watermark, one shard
 * that opens again and knows what is left.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  changeShard,
  type FoldTotals,
  firstTopology,
  type LogRecord,
  Names,
  NO_HASH,
  NO_SMALL_STATE,
  type OperatorNote,
  Pending,
  readRecord,
  recordHash,
  shardOf,
  type Topology,
  type Watermark,
  writeRecord,
} from '@spill/core';
import { type RepairShard, repairShard, TopologyStore } from '@spill/node';
import { Packr } from 'msgpackr';
import { connect, type NatsConnection } from 'nats';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { createLog, JetStreamLog } from '../../packages/node/dist/nats/log.js';
import { provideNatsServer } from '../../packages/node/dist/nats/provide-nats-server.js';
import { answerQuestion } from '../../packages/node/dist/shard/answer-questions.js';
import { openShard } from '../../packages/node/dist/shard/open-shard.js';
import { batchOf } from '../support/batch-rows.js';
import { type PlainNatsServer, startPlainNatsServer } from '../support/plain-nats-server.js';
import { questionPorts } from '../support/question-ports.js';
import { recordsOf, replaceLog } from '../support/tamper-log.js';

const names = new Names('spill');
const OLD = 'a'.repeat(32);
const LEDGER = 'e'.repeat(32);
const NOW = 2_000_000_000_000_000;

let folder: string;
let server: PlainNatsServer;
let nc: NatsConnection;
let store: TopologyStore;
let table: FakeTable;

/** The watermark row, as PostgreSQL would keep it. */
class FakeTable {
  totals: FoldTotals[] = [];
  resets: { watermark: Watermark; note: OperatorNote }[] = [];

  foldTotals = async (): Promise<FoldTotals[]> => this.totals;
  ledgerId = LEDGER;
  ledgerOf = async (shard: number): Promise<{ ledgerId: string; watermark: Watermark | null }> => {
    const row = this.totals.find(({ watermark, current }) => current && watermark.shard === shard);
    return { ledgerId: this.ledgerId, watermark: row?.watermark ?? null };
  };
  resetWatermark = async (watermark: Watermark, ledger: { id: string; renew: boolean }, note: OperatorNote) => {
    expect(ledger.id).toBe(this.ledgerId);
    if (ledger.renew) this.ledgerId = 'f'.repeat(32);
    this.resets.push({ watermark, note });
    const nothing = { count: 0n, sum: 0n };
    const fresh = {
      watermark,
      baseSequence: watermark.sequence,
      folded: nothing,
      dropped: nothing,
      conflicts: nothing,
    };
    this.totals = [...this.totals.map((row) => ({ ...row, current: false })), { ...fresh, current: true }];
    return this.ledgerId;
  };
}

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'spill-repair-'));
  server = await startPlainNatsServer(
    (await provideNatsServer()).path,
    join(folder, 'server'),
    `max_payload: 8MB\njetstream { store_dir: ${JSON.stringify(join(folder, 'jetstream'))}, sync_interval: always }`,
  );
  nc = await connect({ servers: server.url });
});

afterAll(async () => {
  await nc.close();
  await server.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** A fresh log of 8 records with two transactions in each from the third on, folded up to 5, and marked as damaged. */
beforeEach(async () => {
  const jsm = await nc.jetstreamManager();
  for await (const { config } of jsm.streams.list()) await jsm.streams.delete(config.name);
  store = await TopologyStore.open(nc, names, { create: true });
  const node = { name: 'n', labels: {}, since: '' };
  const logIds = [OLD, 'b'.repeat(32), 'c'.repeat(32)];
  const first = firstTopology({
    node,
    shardCount: 3,
    largeThreshold: 1_000n,
    replicas: 1,
    accountType: 'text',
    secret: '1'.repeat(64),
    logIds,
  });
  await store.create(
    changeShard(first, 1, { state: 'damaged', reason: 'the test broke it', assignment: 4, ledgerId: LEDGER }),
  );
  await createLog(nc, names, { shard: 1, logId: OLD, replicas: 1, small: NO_SMALL_STATE });
  const log = await openLog();
  for (let sequence = 2; sequence <= 8; sequence++) {
    const last = readRecord((await log.last())!.bytes);
    const rows = [0, 1].map((i) => ({
      account: 'x',
      id: `t${sequence}.${i}`,
      amount: 10n,
      timestamp: 1_000,
      stamped: false,
    }));
    const events: LogRecord['events'] =
      sequence === 2
        ? [{ type: 'opened', assignment: 4 }]
        : [{ type: 'stored', batch: batchOf(rows), accepted: null, count: 2 }];
    const stored = sequence === 2 ? 0 : 2;
    const bytes = writeRecord({
      ...last,
      previous: recordHash((await log.last())!.bytes),
      assignment: 4,
      number: sequence,
      count: last.count + stored,
      sum: last.sum + BigInt(10 * stored),
      epoch: 30,
      events,
    });
    expect(await log.append(bytes, sequence - 1)).toMatchObject({ outcome: 'stored' });
  }
  table = new FakeTable();
  const folded = await log.get(5);
  const nothing = { count: 0n, sum: 0n };
  table.totals = [
    {
      watermark: { shard: 1, logId: OLD, sequence: 5, number: 5, hash: recordHash(folded!.bytes), assignment: 4 },
      baseSequence: 0,
      folded: { count: 6n, sum: 60n },
      dropped: nothing,
      conflicts: nothing,
      current: true,
    },
  ];
});

function openLog(): Promise<JetStreamLog> {
  return JetStreamLog.open(nc, names, 1);
}

function repair(part: Partial<RepairShard> = {}): ReturnType<typeof repairShard> {
  return repairShard({
    nc,
    names,
    topology: store,
    heartbeats: { read: async () => null },
    table,
    shard: 1,
    acceptLoss: true,
    acceptNewLedger: false,
    note: { who: 'op', why: 'disk died' },
    dataDir: null,
    now: () => NOW,
    ...part,
  });
}

/** Opens the shard as its process would, under the next assignment. */
async function open(): Promise<Awaited<ReturnType<typeof openShard>>> {
  const { topology } = await store.require();
  const { assignment } = shardOf(topology, 1)!;
  return openShard({
    log: await openLog(),
    topologies: store,
    shard: 1,
    assignment: assignment + 1,
    witnesses: () => [],
    onReplayed: () => {},
    report: () => {},
  });
}

async function rebasedRecords(): Promise<{ sequence: number; record: LogRecord }[]> {
  const records = await recordsOf(nc, 1);
  return records.flatMap(({ sequence, bytes }) => {
    try {
      const record = readRecord(bytes);
      return record.events[0]?.type === 'rebased' ? [{ sequence, record }] : [];
    } catch {
      return [];
    }
  });
}

/** Puts records of the test's choice in the place of the log's. */
async function tamper(change: (records: Uint8Array[]) => (Uint8Array | null)[]): Promise<void> {
  const records = await recordsOf(nc, 1);
  await replaceLog(nc, 1, change(records.map(({ bytes }) => bytes)));
}

const garbage = new Uint8Array(200).fill(7);

interface Tampering {
  readonly change: (records: Uint8Array[]) => (Uint8Array | null)[];
  readonly lost: object[];
  readonly ids: string[];
}

/** What is left of each kind of damage: ids that the shard knows afterwards, and how the loss is told. */
const TAMPERINGS: Record<string, Tampering> = {
  'nothing (the damage was elsewhere)': {
    change: (records) => records,
    lost: [],
    ids: ['t3', 't4', 't5', 't6', 't7', 't8'],
  },
  'a record that cannot be read': {
    change: (records) => records.map((bytes, i) => (i === 5 ? garbage : bytes)),
    lost: [{ from: 6, to: 6, transactions: 2, sum: '20' }],
    ids: ['t3', 't4', 't5', 't7', 't8'],
  },
  'a record that is missing': {
    change: (records) => records.map((bytes, i) => (i === 3 ? null : bytes)),
    lost: [{ from: 4, to: 4, transactions: 2, sum: '20' }],
    ids: ['t3', 't5', 't6', 't7', 't8'],
  },
  'an altered record': {
    change: (records) => records.map((bytes, i) => (i === 6 ? doubled(bytes) : bytes)),
    lost: [{ from: 7, to: 7, transactions: 2, sum: '20' }],
    ids: ['t3', 't4', 't5', 't6', 't8'],
  },
  'a record taken out, the later ones moved up': {
    change: (records) => records.filter((_, i) => i !== 5),
    lost: [{ transactions: 2, sum: '20' }],
    ids: ['t3', 't4', 't5', 't7', 't8'],
  },
  'an end that is gone, folded records with it': {
    change: (records) => records.slice(0, 4),
    lost: [{ from: 5, to: 5, transactions: 2, sum: '20' }],
    ids: ['t3', 't4'],
  },
  'a last record that cannot be read': {
    change: (records) => records.map((bytes, i) => (i === 7 ? garbage : bytes)),
    lost: [{ from: 8, to: 8, transactions: null }],
    ids: ['t3', 't4', 't5', 't6', 't7'],
  },
  'a first record that cannot be read': {
    change: (records) => records.map((bytes, i) => (i === 0 ? garbage : bytes)),
    lost: [{ from: 1, to: 1 }],
    ids: ['t3', 't4', 't5', 't6', 't7', 't8'],
  },
  'nothing that can be read': {
    change: (records) => records.map(() => garbage),
    lost: [{ from: 1, to: 8, transactions: null }],
    ids: [],
  },
};

function doubled(bytes: Uint8Array): Uint8Array {
  const record = readRecord(bytes);
  const rows = [0, 1].map((i) => ({ account: 'x', id: `t7.${i}`, amount: 20n, timestamp: 1_000, stamped: false }));
  return writeRecord({ ...record, events: [{ type: 'stored', batch: batchOf(rows), accepted: null, count: 2 }] });
}

describe('repair', () => {
  test.each(Object.entries(TAMPERINGS))('keeps what is left of a log with %s', async (_, { change, lost, ids }) => {
    await tamper(change);
    expect((await repair({ acceptLoss: false })).lost).toMatchObject(lost);
    expect(await rebasedRecords()).toEqual([]);
    const report = await repair();
    expect(report).toMatchObject({ repaired: true, former_log_id: OLD, reason: 'the test broke it', lost });
    const [rebased] = await rebasedRecords();
    expect(rebased?.record.events[0]).toMatchObject({
      formerLogId: OLD,
      who: 'op',
      why: 'disk died',
      lost: report.summary,
    });
    // Below the oldest record kept, under the new id.
    expect(table.resets).toMatchObject([
      { watermark: { logId: report.log_id, sequence: 0, number: 0, hash: NO_HASH } },
    ]);
    expect(table.resets[0]?.note.why).toContain('disk died');

    const opened = await open();
    if (opened.outcome !== 'serving') throw new Error(JSON.stringify(opened));
    const { state } = opened;
    expect(state.logId).toBe(report.log_id);
    expect(opened.rebasedAt).toBe(rebased?.sequence);
    const known = [...state.known.entries()].map((entry) => state.known.id(entry));
    expect(known).toEqual(ids.flatMap((id) => [`${id}.0`, `${id}.1`]));
    expect(state.count).toBe(known.length);
    expect(state.sum).toBe(10n * BigInt(known.length));
    // Nothing is forgotten, all of it is folded again, and what is unknown and older is looked up in the ledger.
    expect(state.small).toMatchObject({ forgottenBelow: 0, foldedUpTo: rebased?.sequence });
    expect(state.small.horizon).toBeGreaterThan(Date.now() * 1_000 - 60_000_000);
    expect(state.small.horizon).toBeLessThan(Date.now() * 1_000 + 1_000_000);
  });

  test('into a ledger that was made anew takes a word of its own, and is remembered then', async () => {
    table.ledgerId = 'd'.repeat(32);
    table.totals = [];
    const why = 'would count twice';
    expect(await repair({ acceptLoss: false })).toMatchObject({
      repaired: false,
      new_ledger: expect.stringContaining(why),
    });
    await expect(repair()).rejects.toMatchObject({ code: 'conflict', message: expect.stringContaining(why) });
    expect(table.resets).toEqual([]);
    expect(await rebasedRecords()).toEqual([]);
    expect((await repair({ acceptNewLedger: true })).repaired).toBe(true);
    // Its id is a new one from here on: a dump from before is another ledger's.
    expect(table.ledgerId).toBe('f'.repeat(32));
    expect(shardOf((await store.require()).topology, 1)?.ledgerId).toBe(table.ledgerId);
  });

  test('makes a stream that is gone anew', async () => {
    await (await nc.jetstreamManager()).streams.delete('SPILL_1');
    const report = await repair();
    expect(report.lost).toMatchObject([{ from: 1, to: 5, transactions: 6, sum: '60' }]);
    expect(report.summary).toContain('the stream was gone');
    expect(table.resets).toMatchObject([{ watermark: { logId: report.log_id, sequence: 0 } }]);
    const opened = await open();
    expect(opened).toMatchObject({ outcome: 'serving', state: { logId: report.log_id, count: 0 } });
  });

  test('goes on in a stream that was emptied', async () => {
    await (await nc.jetstreamManager()).streams.purge('SPILL_1');
    const report = await repair();
    expect(table.resets).toMatchObject([{ watermark: { logId: report.log_id, sequence: 8 } }]);
    expect(await open()).toMatchObject({ outcome: 'serving', state: { logId: report.log_id, count: 0 } });
  });

  test('puts the configuration of the stream right', async () => {
    const jsm = await nc.jetstreamManager();
    const { config } = await jsm.streams.info('SPILL_1');
    await jsm.streams.update('SPILL_1', { ...config, max_age: 3_600_000_000_000 });
    await repair();
    expect((await (await openLog()).info()).problems).toEqual([]);
    expect((await open()).outcome).toBe('serving');
  });

  test('the watermark goes below the oldest record that a purge has left', async () => {
    await (await nc.jetstreamManager()).streams.purge('SPILL_1', { seq: 4 });
    const third = (await recordsOf(nc, 1))[0]!;
    const { previous } = readRecord(third.bytes);
    const report = await repair();
    expect(table.resets).toMatchObject([
      { watermark: { logId: report.log_id, sequence: 3, number: 3, hash: previous } },
    ]);
    const opened = await open();
    if (opened.outcome !== 'serving') throw new Error(JSON.stringify(opened));
    // Running numbers begin anew where the watermark does.
    expect(opened.state.count).toBe(10);
  });

  test('its assignment and epoch are above every one seen, though the topology is older than the log', async () => {
    const { topology, revision } = await store.require();
    const older: Topology = { ...changeShard(topology, 1, { reason: 'older' }), epoch: 2 };
    await store.update({ ...older, shards: older.shards.map((entry) => ({ ...entry, assignment: 1 })) }, revision);
    await repair({
      heartbeats: {
        read: async () => ({ logId: OLD, assignment: 9, sequence: 12, number: 12, hash: NO_HASH, at: '' }),
      },
    });
    const now = (await store.require()).topology;
    expect(now.epoch).toBeGreaterThan(30);
    expect(shardOf(now, 1)?.assignment).toBeGreaterThan(9);
    expect(table.resets[0]?.watermark.assignment).toBeGreaterThan(9);
    expect((await open()).outcome).toBe('serving');
  });

  test.each(['assignment', 'rebased', 'watermark', 'topology'])(
    'cut short before the step of the %s, it is run again to the same end',
    async (step) => {
      await tamper((records) => records.map((bytes, i) => (i === 5 ? garbage : bytes)));
      const cut = new Error('cut short');
      const changes = { assignment: 0, rebased: -1, watermark: -1, topology: 1 }[step] as number;
      let change = 0;
      const topology = Object.assign(Object.create(store) as TopologyStore, {
        change: (by: Parameters<TopologyStore['change']>[0]) => {
          if (change++ === changes) throw cut;
          return store.change(by);
        },
      });
      const failing = Object.assign(Object.create(table) as FakeTable, {
        resetWatermark: async () => {
          throw cut;
        },
      });
      await expect(
        repair({
          topology,
          ...(step === 'watermark' && { table: failing }),
          ...(step === 'rebased' && {
            now: () => {
              throw cut;
            },
          }),
        }),
      ).rejects.toBe(cut);
      expect(shardOf((await store.require()).topology, 1)?.state).toBe('damaged');
      // No process opens the log in between.
      expect((await open()).outcome).toBe('damaged');

      const report = await repair();
      const rebased = await rebasedRecords();
      expect(rebased).toHaveLength(1);
      expect(rebased[0]?.record.logId).toBe(report.log_id);
      expect(table.resets).toHaveLength(1);
      expect(report.summary).toMatch(/records 6 to 6 are missing, altered or cannot be read/);
      expect(shardOf((await store.require()).topology, 1)).toMatchObject({ state: 'open', logId: report.log_id });
      expect((await open()).outcome).toBe('serving');
    },
  );

  test('no balance is answered until what was folded before is folded again', async () => {
    await repair();
    const opened = await open();
    if (opened.outcome !== 'serving') throw new Error(JSON.stringify(opened));
    const { state, rebasedAt } = opened;
    const pending = new Pending(state.known);
    pending.acknowledge(0, 0, state.sequence);
    pending.rebase(0);
    const codec = new Packr({ useRecords: false });
    const ask = async (watermark: number): Promise<{ answer: string; sums?: string[] }> => {
      const question = {
        ask: 'pending',
        role: 'draining',
        epoch: 1,
        logId: state.logId,
        accounts: ['x'],
        without: [[]],
      };
      const ports = questionPorts(state, pending, { rebasedAt, acknowledged: () => state.sequence });
      const bytes = await answerQuestion(codec.pack({ ...question, watermark }), ports);
      return codec.unpack(bytes);
    };
    // All twelve are beyond this watermark, and six of them in their row already.
    expect(await ask(0)).toMatchObject({ answer: 'unavailable' });
    expect(await ask(rebasedAt - 1)).toMatchObject({ answer: 'unavailable' });
    expect(await ask(rebasedAt)).toMatchObject({ answer: 'pending', sums: ['0'] });
  });

  test('a log damaged again is repaired again', async () => {
    await tamper((records) => records.map((bytes, i) => (i === 5 ? garbage : bytes)));
    const first = await repair();
    await store.change((topology) => changeShard(topology, 1, { state: 'damaged', reason: 'again' }));
    await tamper((records) => records.map((bytes, i) => (i === 3 ? garbage : bytes)));
    const second = await repair();
    expect(second.former_log_id).toBe(first.log_id);
    expect(second.log_id).not.toBe(first.log_id);
    const opened = await open();
    if (opened.outcome !== 'serving') throw new Error(JSON.stringify(opened));
    expect([...opened.state.known.entries()]).toHaveLength(8);
    expect(opened.state.count).toBe(8);
  });
});
