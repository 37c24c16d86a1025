import { type FindingKind, NO_HASH, readRecord, recordHash, writeRecord } from '@spill/core';
import { type VerifyReport, verifyCluster } from '@spill/node';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { batchOf } from '../support/batch-rows.js';
import { runs } from '../support/property-runs.js';
import { Random } from '../support/random.js';
import { VerifyWorld, type WorldLedgerRow, type WorldRecord, type WorldShard } from '../support/verify-world.js';

const seeds = fc.integer({ min: 0, max: 2 ** 32 - 1 });

function verify(world: VerifyWorld): Promise<VerifyReport> {
  return verifyCluster(world.ports());
}

function found(report: VerifyReport): FindingKind[] {
  const kinds = ['lost', 'duplicated', 'mismatched', 'damaged', 'drift'] as const;
  return kinds.filter((kind) => report[kind] > 0);
}

describe('verify over logs and a database that are right', () => {
  it('finds nothing, whatever was dropped, refused, set aside, purged or is pending', async () => {
    await fc.assert(
      fc.asyncProperty(seeds, async (seed) => {
        const world = new VerifyWorld(new Random(seed));
        const report = await verify(world);
        expect(report.examples).toMatchObject({ lost: [], duplicated: [], mismatched: [], damaged: [], drift: [] });
        expect(report.ok).toBe(true);
        expect(report.conflicts).toBe(world.conflicts.length);
        const kept = world.shards.flatMap(({ records, watermark }) =>
          records.map(({ sequence, transactions }) => ({ folded: sequence <= watermark, count: transactions.length })),
        );
        const count = (folded: boolean): number =>
          kept.filter((record) => record.folded === folded).reduce((sum, record) => sum + record.count, 0);
        expect(report.checked).toBe(count(true));
        expect(report.pending).toBe(count(false));
      }),
      runs(300),
    );
  });

  it('finds nothing for some accounts alone either', async () => {
    await fc.assert(
      fc.asyncProperty(seeds, async (seed) => {
        const world = new VerifyWorld(new Random(seed));
        const report = await verifyCluster({ ...world.ports(), accounts: ['hot'] });
        expect(found(report)).toEqual([]);
      }),
      runs(50),
    );
  });
});

/** Spoils one thing and returns what must be found, or null where this world has nothing of the kind to spoil. */
type Corruption = (world: VerifyWorld, random: Random) => FindingKind[] | null;

const CORRUPTIONS: Record<string, Corruption> = {
  'a ledger row is gone': (world, random) => {
    const row = anyFolded(world, random);
    if (!row) return null;
    world.ledger.delete(VerifyWorld.key(row));
    return ['lost'];
  },
  'a ledger row has another amount': (world, random) => {
    const row = anyFolded(world, random);
    if (!row) return null;
    row.amount += 1_000n;
    return ['mismatched'];
  },
  'a ledger row has another timestamp': (world, random) => {
    const row = anyFolded(world, random, (row, shard) => (row.sequence as number) >= shard.firstSequence);
    if (!row) return null;
    world.ledger.set(VerifyWorld.key(row), { ...row, timestamp: row.timestamp + 1 });
    return ['mismatched'];
  },
  'a ledger row belongs to another account': (world, random) => {
    const row = anyFolded(world, random, (row, shard) => (row.sequence as number) >= shard.firstSequence);
    if (!row) return null;
    world.ledger.delete(VerifyWorld.key(row));
    const other = { ...row, account: 'mallory' };
    world.ledger.set(VerifyWorld.key(other), other);
    return ['lost', 'duplicated'];
  },
  'the ledger counts what no record holds': (world, random) => {
    const row = anyFolded(world, random);
    if (!row) return null;
    const ghost = { ...row, id: 'ghost', index: 99 };
    world.ledger.set(VerifyWorld.key(ghost), ghost);
    return ['duplicated'];
  },
  'the ledger counts what is beyond the watermark': (world, random) => {
    const row = anyFolded(world, random);
    if (!row) return null;
    const ghost = { ...row, id: 'ghost', sequence: 1_000 };
    world.ledger.set(VerifyWorld.key(ghost), ghost);
    return ['duplicated'];
  },
  'the ledger counts what a log that never folded holds': (world, random) => {
    const row = anyFolded(world, random);
    if (!row) return null;
    const ghost = { ...row, id: 'ghost', logId: 'f'.repeat(32) };
    world.ledger.set(VerifyWorld.key(ghost), ghost);
    return ['duplicated'];
  },
  'a conflict is gone': (world, random) => {
    const kept = world.conflicts.filter((row) => row.sequence >= shardOf(world, row.shard).firstSequence);
    if (kept.length === 0) return null;
    world.conflicts.splice(world.conflicts.indexOf(random.pick(kept)), 1);
    return ['mismatched'];
  },
  'folds account for one transaction less': (world, random) => (changeTotals(world, random, -1n) ? ['lost'] : null),
  'folds account for one transaction more': (world, random) =>
    changeTotals(world, random, 1n) ? ['duplicated'] : null,
  'a byte of a record is another': (world, random) => {
    const shard = random.pick(world.shards);
    const record = random.pick(shard.records);
    record.bytes = record.bytes.slice();
    const at = random.int(0, record.bytes.length - 1);
    record.bytes[at] = (record.bytes[at] as number) ^ (1 << random.int(0, 7));
    return ['damaged'];
  },
  'a record is missing': (world, random) => {
    const shard = random.pick(world.shards);
    const inner = shard.records.slice(1);
    if (inner.length === 0) return null;
    shard.records.splice(shard.records.indexOf(random.pick(inner)), 1);
    return ['damaged'];
  },
  'a record is taken out, and the later ones moved up': (world, random) => {
    const shard = random.pick(world.shards);
    if (shard.records.length < 3) return null;
    const at = random.int(1, shard.records.length - 2);
    shard.records.splice(at, 1);
    shard.records = shard.records.map((record, i) => (i < at ? record : { ...record, sequence: record.sequence - 1 }));
    return ['damaged'];
  },
  'two records have changed places': (world, random) => {
    const shard = random.pick(world.shards);
    if (shard.records.length < 2) return null;
    const at = random.int(0, shard.records.length - 2);
    const [a, b] = shard.records.slice(at, at + 2) as [WorldRecord, WorldRecord];
    [a.bytes, b.bytes] = [b.bytes, a.bytes];
    return ['damaged'];
  },
  'a record is written anew with another amount, its own hash and sums right': (world, random) => {
    const shard = random.pick(world.shards);
    const stored = shard.records.filter(
      ({ transactions, sequence }) => transactions.length > 0 && sequence < lastOf(shard).sequence,
    );
    if (stored.length === 0) return null;
    const record = random.pick(stored);
    const read = readRecord(record.bytes);
    const rows = record.transactions.map((transaction) => ({
      ...transaction,
      amount: transaction.amount + 5_000n,
      stamped: false,
    }));
    const sum = read.sum + 5_000n * BigInt(rows.length);
    const event = { type: 'stored', batch: batchOf(rows), accepted: null, count: rows.length } as const;
    record.bytes = writeRecord({ ...read, sum, events: [event] });
    return ['damaged'];
  },
  'the whole rest of the log is written anew, each link right': (world, random) => {
    const shard = random.pick(world.shards);
    if (shard.watermark < shard.firstSequence || lastOf(shard).sequence === 1) return null;
    let previous: string | null = null;
    for (const record of shard.records) {
      const read = readRecord(record.bytes);
      record.bytes = writeRecord({ ...read, previous: previous ?? read.previous, assignment: read.assignment + 1 });
      previous = recordHash(record.bytes);
    }
    return ['damaged'];
  },
  'the end of the log is cut off': (world, random) => {
    const shard = random.pick(world.shards);
    if (shard.records.length < 2) return null;
    shard.records = shard.records.slice(0, random.int(1, shard.records.length - 1));
    return ['damaged'];
  },
  'the front of the log is cut off above the watermark': (world, random) => {
    const shard = random.pick(world.shards.filter((one) => one.watermark + 1 < lastOf(one).sequence));
    if (!shard) return null;
    shard.records = shard.records.filter(({ sequence }) => sequence > shard.watermark + 1);
    shard.firstSequence = shard.watermark + 2;
    return ['damaged'];
  },
  'the log is empty': (world, random) => {
    random.pick(world.shards).records = [];
    return ['damaged'];
  },
  'the watermark is of another record': (world, random) => {
    const at = world.totals.filter(
      ({ watermark }) => watermark.sequence >= shardOf(world, watermark.shard).firstSequence,
    );
    if (at.length === 0) return null;
    const totals = random.pick(at);
    const watermark = { ...totals.watermark, hash: NO_HASH };
    world.totals.splice(world.totals.indexOf(totals), 1, { ...totals, watermark });
    return ['damaged'];
  },
  'the data table has folded another log': (world, random) => {
    if (world.totals.length === 0) return null;
    const totals = random.pick(world.totals);
    const watermark = { ...totals.watermark, logId: 'e'.repeat(32) };
    world.totals.splice(world.totals.indexOf(totals), 1, { ...totals, watermark });
    return ['damaged'];
  },
  'other code has changed a row': (world) => {
    world.foreign.set('bob', 1n);
    return ['drift'];
  },
};

function lastOf(shard: WorldShard): WorldRecord {
  return shard.records.at(-1) as WorldRecord;
}

function shardOf(world: VerifyWorld, id: number): WorldShard {
  return world.shards.find((shard) => shard.id === id) as WorldShard;
}

function anyFolded(
  world: VerifyWorld,
  random: Random,
  holds: (row: WorldLedgerRow, shard: WorldShard) => boolean = () => true,
): WorldLedgerRow | null {
  const rows = [...world.ledger.values()].filter((row) => row.shard !== null && holds(row, shardOf(world, row.shard)));
  return rows.length === 0 ? null : random.pick(rows);
}

function changeTotals(world: VerifyWorld, random: Random, by: bigint): boolean {
  const able = world.totals.filter(({ dropped }) => dropped.count + by >= 0n);
  if (able.length === 0) return false;
  const totals = random.pick(able);
  const dropped = { count: totals.dropped.count + by, sum: totals.dropped.sum };
  world.totals.splice(world.totals.indexOf(totals), 1, { ...totals, dropped });
  return true;
}

describe('verify over one thing that is wrong', () => {
  it.each(Object.entries(CORRUPTIONS))('%s', async (_, corrupt) => {
    let spoiled = 0;
    await fc.assert(
      fc.asyncProperty(seeds, async (seed) => {
        const random = new Random(seed);
        const world = new VerifyWorld(random);
        const expected = corrupt(world, random);
        fc.pre(expected !== null);
        if (!expected) return;
        spoiled += 1;
        const report = await verify(world);
        for (const kind of expected) {
          expect(report[kind], JSON.stringify(report.examples)).toBeGreaterThan(0);
          expect(report.examples[kind][0]?.message).toMatch(/\w/);
        }
        const clean = expected.every((kind) => kind === 'drift');
        expect(report.ok).toBe(clean);
        // A wrong ledger is no reason to call a log damaged.
        if (!expected.includes('damaged')) expect(report.damaged).toBe(0);
      }),
      runs(60),
    );
    expect(spoiled).toBeGreaterThan(0);
  });

  it('is an error of its own kind where spill alone may write the rows', async () => {
    const world = new VerifyWorld(new Random(1));
    world.foreign.set('bob', 1n);
    expect((await verifyCluster({ ...world.ports(), exclusive: true })).ok).toBe(false);
  });

  it('what looked lost and is pending after the database was set back is not reported', async () => {
    const random = new Random(7);
    const world = new VerifyWorld(random);
    const ports = world.ports();
    const row = anyFolded(world, random, (row, shard) => (row.sequence as number) >= shard.firstSequence);
    if (!row) throw new Error('the seed gives no folded row');
    let asked = 0;
    const table = {
      ...ports.table,
      // The first look at the watermark is from before the restore.
      foldTotals: async () => {
        const totals = await ports.table.foldTotals();
        return asked++ === 0 ? totals : totals.filter(({ watermark }) => watermark.shard !== row.shard);
      },
    };
    for (const one of [...world.ledger.values()].filter(({ shard }) => shard === row.shard))
      world.ledger.delete(VerifyWorld.key(one));
    const only = { ...world.topology, shards: world.topology.shards.filter(({ id }) => id === row.shard) };
    const report = await verifyCluster({ ...ports, table, topology: async () => only });
    expect(report.lost).toBe(0);
  });
});
