import { judgeWatermark, type LogView, sameWatermark, type Watermark } from '@spill/core';
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
