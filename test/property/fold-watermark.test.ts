import {
  changeShard,
  firstTopology,
  judgeLedger,
  judgeWatermark,
  type LogView,
  repairedShard,
  sameWatermark,
  shardOf,
  type Topology,
  type Watermark,
} from '@spill/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { hashOf, LOG, startOf, ZERO_HASH } from '../support/data-table-fixture.js';

interface World {
  /** Records 1 to `written` were written; `first` to `last` are there now. */
  readonly written: number;
  readonly first: number;
  readonly last: number;
  /** How far the data table was folded, and by whom. */
  readonly folded: number;
  readonly foldedBy: number;
  readonly own: number;
  readonly topology: number;
  readonly expected: number;
}

const world: fc.Arbitrary<World> = fc
  .record({
    written: fc.integer({ min: 1, max: 12 }),
    purged: fc.integer({ min: 0, max: 12 }),
    lost: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 4 })),
    folded: fc.integer({ min: 0, max: 12 }),
    foldedBy: fc.integer({ min: 1, max: 6 }),
    own: fc.integer({ min: 1, max: 6 }),
    above: fc.integer({ min: 0, max: 2 }),
    expected: fc.integer({ min: 0, max: 12 }),
  })
  .map(({ written, purged, lost, folded, foldedBy, own, above, expected }) => {
    const last = Math.max(1, written - lost);
    return {
      written,
      last,
      first: Math.min(purged + 1, last),
      folded: Math.min(folded, written),
      foldedBy,
      own,
      topology: own + above,
      expected: Math.min(expected, written),
    };
  });

function rowOf({ folded, foldedBy }: World): Watermark | null {
  if (folded === 0) return null;
  return { shard: 1, logId: LOG, sequence: folded, number: folded, hash: hashOf(folded), assignment: foldedBy };
}

function viewOf({ first, last, folded, own, topology, expected }: World, hash = hashOf): LogView {
  const there = folded >= first && folded <= last;
  return {
    logId: LOG,
    firstSequence: first,
    lastSequence: last,
    firstNumber: first,
    hashBeforeFirst: first === 1 ? ZERO_HASH : hash(first - 1),
    recordAtWatermark: there ? { number: folded, hash: hash(folded) } : null,
    assignment: own,
    topologyAssignment: topology,
    expectedSequence: expected,
  };
}

describe('judging the watermark', () => {
  it('folds on from it exactly where everything between it and the end of the log is there', () => {
    fc.assert(
      fc.property(world, (w) => {
        const whole = w.folded + 1 >= w.first && w.folded <= w.last;
        const order = w.folded === w.expected ? 'equal' : w.folded > w.expected ? 'ahead' : 'behind';
        const by = w.folded === 0 ? 0 : w.foldedBy;
        const verdict = !whole || by > w.topology ? 'damaged' : by > w.own ? 'superseded' : order;
        expect(judgeWatermark(rowOf(w), viewOf(w)).verdict).toBe(verdict);
      }),
      { numRuns: 3_000 },
    );
  });

  it('is damaged by another log, another hash, another number, whatever else', () => {
    fc.assert(
      fc.property(world, fc.constantFrom('logId', 'hash', 'number'), (w, what) => {
        const row = rowOf({ ...w, folded: Math.max(1, w.folded) })!;
        const changed = { logId: { logId: 'cd'.repeat(16) }, hash: { hash: hashOf(99) }, number: { number: 99 } };
        const view = viewOf({ ...w, folded: row.sequence });
        expect(judgeWatermark({ ...row, ...changed[what] }, view).verdict).toBe('damaged');
      }),
    );
  });

  it('is damaged by an older log put back, though it has as many records: the chain differs', () => {
    fc.assert(
      fc.property(world, (w) => {
        if (w.folded === 0 || w.folded + 1 < w.first || w.folded > w.last) return;
        const rewritten = viewOf(w, (sequence) => hashOf(sequence + 1_000));
        expect(judgeWatermark(rowOf(w), rewritten).verdict).toBe('damaged');
      }),
    );
  });

  it('finds the record before it looks at the assignment', () => {
    const row = { ...startOf(1, 'cd'.repeat(16)), sequence: 3, number: 3, hash: hashOf(3), assignment: 9 };
    const view = viewOf({ written: 5, first: 1, last: 5, folded: 3, foldedBy: 9, own: 2, topology: 9, expected: 3 });
    expect(judgeWatermark(row, view)).toMatchObject({ verdict: 'damaged' });
  });

  it('says what is missing', () => {
    const view = viewOf({ written: 9, first: 5, last: 6, folded: 2, foldedBy: 1, own: 1, topology: 1, expected: 2 });
    const row = rowOf({ written: 9, first: 5, last: 6, folded: 2, foldedBy: 1, own: 1, topology: 1, expected: 2 });
    expect(judgeWatermark(row, view)).toEqual({
      verdict: 'damaged',
      why: 'the data table has folded up to 2, the log begins at 5',
    });
    expect(judgeWatermark(null, view)).toMatchObject({ verdict: 'damaged' });
  });
});

const SHARDS = [1, 2, 3] as const;

/** What a database holds of each shard, as how far its log is in there. A dump has all of it. */
interface Database {
  readonly ledgerId: string;
  readonly watermark: Readonly<Record<number, number>>;
  /** How far the ledger has rows, so drops. */
  readonly ledger: Readonly<Record<number, number>>;
  /** How far the balances hold it. */
  readonly balances: Readonly<Record<number, number>>;
}

type Happening =
  | { readonly what: 'fold' | 'repair' | 'start over'; readonly shard: number }
  | { readonly what: 'restore'; readonly back: number }
  | { readonly what: 'lose the schema' };

const oneShard = fc.constantFrom(...SHARDS);
const happening: fc.Arbitrary<Happening> = fc.oneof(
  { weight: 8, arbitrary: fc.record({ what: fc.constant('fold' as const), shard: oneShard }) },
  {
    weight: 2,
    arbitrary: fc.record({ what: fc.constantFrom('repair' as const, 'start over' as const), shard: oneShard }),
  },
  { weight: 2, arbitrary: fc.record({ what: fc.constant('restore' as const), back: fc.nat(20) }) },
  { weight: 2, arbitrary: fc.constant({ what: 'lose the schema' as const }) },
);

/** A cluster of which every shard has written a record more before each fold, and its database. */
class LedgerWorld {
  topology: Topology = firstTopology({
    node: { name: 'n', labels: {}, since: '' },
    shardCount: SHARDS.length,
    largeThreshold: 10n,
    accountType: 'text',
    replicas: 1,
    secret: '1'.repeat(64),
    logIds: SHARDS.map((shard) => String(shard).repeat(32)),
  });
  private made = 1;
  private database: Database = { ledgerId: 'ledger 1', watermark: {}, ledger: {}, balances: {} };
  private readonly dumps: Database[] = [this.database];
  readonly written: Record<number, number> = {};
  /** A schema was lost: an alarm may be a false one from here on. */
  lost = false;

  why(shard: number): string | null {
    const { ledgerId, watermark } = this.database;
    return judgeLedger(this.topology, { shard, ledgerId, hasWatermark: shard in watermark, foldedUpTo: 0 });
  }

  happen(happening: Happening): void {
    switch (happening.what) {
      case 'fold':
        this.fold(happening.shard);
        return;
      case 'restore':
        this.database = this.dumps[Math.max(0, this.dumps.length - 1 - happening.back)] as Database;
        return;
      case 'lose the schema':
        this.lost = true;
        this.database = { ...this.database, watermark: {}, ledger: {} };
        this.renew();
        this.dumps.push(this.database);
        return;
      case 'repair':
        if (this.why(happening.shard) === null) this.repair(happening.shard);
        return;
      case 'start over': {
        // The operator has put the balances to where they were before any fold, and says so.
        const { balances } = this.database;
        if (this.why(happening.shard) === null) return;
        this.database = { ...this.database, balances: { ...balances, [happening.shard]: 0 } };
        // A dump from before this is another ledger's from here on.
        this.renew();
        this.repair(happening.shard);
        return;
      }
    }
  }

  private renew(): void {
    this.database = { ...this.database, ledgerId: `ledger ${++this.made}` };
  }

  private fold(shard: number): void {
    const to = (this.written[shard] ?? 0) + 1;
    this.written[shard] = to;
    if (this.why(shard) !== null) {
      expect(this.lost, 'a false alarm, though no schema was ever lost').toBe(true);
      return;
    }
    const { ledgerId, watermark, ledger, balances } = this.database;
    if (shardOf(this.topology, shard)?.ledgerId !== ledgerId) {
      this.topology = changeShard(this.topology, shard, { ledgerId });
    }
    const above = Math.max(watermark[shard] ?? 0, ledger[shard] ?? 0);
    expect(balances[shard] ?? 0, 'folded a second time').toBeLessThanOrEqual(above);
    expect(balances[shard] ?? 0, 'passed over').toBeGreaterThanOrEqual(above);
    const folded = (of: Readonly<Record<number, number>>) => ({ ...of, [shard]: to });
    this.database = {
      ledgerId,
      watermark: folded(watermark),
      ledger: folded(ledger),
      balances: folded(balances),
    };
    this.dumps.push(this.database);
  }

  private repair(shard: number): void {
    const { ledgerId, watermark } = this.database;
    this.topology = repairedShard(changeShard(this.topology, shard, { state: 'damaged', reason: '' }), shard, {
      logId: 'f'.repeat(32),
      ledgerId,
      assignmentAbove: 0,
      epochAbove: 0,
      sequence: 1,
      state: 'open',
    });
    this.database = { ...this.database, watermark: { ...watermark, [shard]: 0 } };
    this.dumps.push(this.database);
  }
}

describe('judging the ledger', () => {
  it('nothing is folded a second time, whatever is lost, made anew, restored or repaired; no alarm where no schema was', () => {
    fc.assert(
      fc.property(fc.array(happening, { maxLength: 60, size: 'max' }), (happenings) => {
        const world = new LedgerWorld();
        for (const happening of happenings) world.happen(happening);
      }),
      { numRuns: 2_000 },
    );
  });

  const world = new LedgerWorld();
  const at = (part: Partial<Parameters<typeof judgeLedger>[1]>) =>
    judgeLedger(world.topology, { shard: 1, ledgerId: 'a', hasWatermark: false, foldedUpTo: 0, ...part });

  it('takes none for its first that another shard of the cluster does not have, or where its log says it has folded', () => {
    expect(at({})).toBeNull();
    expect(at({ foldedUpTo: 5 })).toContain('count twice');
    expect(at({ foldedUpTo: 5, hasWatermark: true })).toBeNull();
    world.topology = changeShard(world.topology, 2, { ledgerId: 'b' });
    expect(at({})).toContain('count twice');
    expect(at({ ledgerId: 'b' })).toBeNull();
  });
});

describe('where a fold starts', () => {
  it('is its own row and no other; nothing folded is also no row', () => {
    const from = { ...startOf(1), sequence: 2, number: 2, hash: hashOf(2) };
    expect(sameWatermark(from, from)).toBe(true);
    expect(sameWatermark({ ...from, assignment: 9 }, from)).toBe(true);
    expect(sameWatermark(null, startOf(1))).toBe(true);
    expect(sameWatermark(null, from)).toBe(false);
    for (const other of [{ logId: 'cd'.repeat(16) }, { sequence: 3 }, { number: 3 }, { hash: hashOf(3) }]) {
      expect(sameWatermark({ ...from, ...other }, from)).toBe(false);
    }
  });
});
