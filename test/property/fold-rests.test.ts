import { FoldRests } from '@spill/core';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { runs } from '../support/property-runs.js';

const SETTINGS = { foldCount: 10_000, pendingBytesMax: 1_000 };
const BYTES = 100;

/** Folds take 200 transactions a millisecond. */
function foldsAt200(): FoldRests {
  const rests = new FoldRests(SETTINGS);
  rests.folded(20_000, 100, 0);
  return rests;
}

it('none is known to be needed before a fold of some size', () => {
  const rests = new FoldRests(SETTINGS);
  rests.folded(9_999, 10_000, 0);
  expect(rests.restMs({ rows: 1_000_000, bytes: BYTES, ageMs: 1 }, 0)).toBe(0);
});

it('a burst begins where half as much again arrives as is folded, and is rested for fifteen times what a fold takes', () => {
  expect(foldsAt200().restMs({ rows: 3_000, bytes: BYTES, ageMs: 10 }, 0)).toBe(0);
  expect(foldsAt200().restMs({ rows: 3_001, bytes: BYTES, ageMs: 10 }, 0)).toBeCloseTo((15 * 3_001) / 200);
  expect(foldsAt200().restMs({ rows: 12_000, bytes: BYTES, ageMs: 10 }, 0)).toBe(900);
  expect(foldsAt200().restMs({ rows: 500_000, bytes: BYTES, ageMs: 10 }, 0)).toBe(1_000);
});

it('it is over where less than half of what is folded arrives, by what came since the last look', () => {
  const rests = foldsAt200();
  rests.restMs({ rows: 10_000, bytes: BYTES, ageMs: 10 }, 0);
  expect(rests.goesOn({ rows: 20_001, bytes: BYTES, ageMs: 110 }, 100)).toBe(true);
  expect(rests.goesOn({ rows: 30_001, bytes: BYTES, ageMs: 210 }, 200)).toBe(false);
  // A fold has taken some of what was counted before.
  rests.folded(20_000, 100, 0);
  expect(rests.goesOn({ rows: 20_002, bytes: BYTES, ageMs: 310 }, 300)).toBe(true);
});

it('folds that waited for each other say more than one that had the machine to itself', () => {
  const rests = new FoldRests(SETTINGS);
  rests.folded(20_000, 1_000, 0);
  rests.folded(20_000, 100, 0);
  // (20,000 / 2 + 20,000) / (1,000 / 2 + 100) = 50 a millisecond.
  expect(rests.restMs({ rows: 751, bytes: BYTES, ageMs: 10 }, 0)).toBeGreaterThan(0);
  expect(foldsAt200().restMs({ rows: 751, bytes: BYTES, ageMs: 10 }, 0)).toBe(0);
});

it('where folds may take more at once, too, ten thousand tell', () => {
  const rests = new FoldRests({ ...SETTINGS, foldCount: 1_000_000 });
  rests.folded(10_000, 50, 0);
  expect(rests.restMs({ rows: 500_000, bytes: BYTES, ageMs: 10 }, 0)).toBe(1_000);
});

it('one slow fold is believed for a minute, where none of some size follows', () => {
  const rests = new FoldRests(SETTINGS);
  rests.folded(10_000, 60_000, 0);
  rests.folded(200, 6, 30_000);
  expect(rests.restMs({ rows: 300, bytes: BYTES, ageMs: 10 }, 60_000)).toBeGreaterThan(0);
  expect(rests.restMs({ rows: 600, bytes: BYTES, ageMs: 10 }, 60_001)).toBe(0);
});

it('past half of what may wait there is none', () => {
  const rests = foldsAt200();
  expect(rests.endsRest({ bytes: 500 })).toBe(false);
  expect(rests.endsRest({ bytes: 501 })).toBe(true);
  expect(rests.restMs({ rows: 500_000, bytes: 501, ageMs: 10 }, 0)).toBe(0);
  expect(rests.goesOn({ rows: 900_000, bytes: 501, ageMs: 20 }, 10)).toBe(false);
});

it('whatever comes and is folded, a rest is a second at most, and none where no more comes than is folded', () => {
  const step = fc.record({
    arrives: fc.nat(300_000),
    afterMs: fc.integer({ min: 1, max: 2_000 }),
    folds: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(step, { maxLength: 50 }), fc.integer({ min: 1, max: 2_000 }), (steps, pace) => {
      const rests = new FoldRests({ ...SETTINGS, foldCount: 1 });
      rests.folded(pace, 1, 0);
      let now = 0;
      let rows = 0;
      let oldest = 0;
      for (const { arrives, afterMs, folds } of steps) {
        if (rows === 0) oldest = now;
        now += afterMs;
        rows += arrives;
        const restMs = rests.restMs({ rows, bytes: BYTES, ageMs: rows > 0 ? now - oldest : 0 }, now);
        expect(restMs).toBeGreaterThanOrEqual(0);
        expect(restMs).toBeLessThanOrEqual(1_000);
        if (arrives <= pace * afterMs) expect(restMs).toBe(0);
        if (now < 60_000 && arrives > 1.5 * pace * afterMs + 1) expect(restMs).toBeGreaterThan(0);
        if (!folds || rows === 0) continue;
        rests.folded(rows, rows / pace, now);
        rows = 0;
      }
    }),
    runs(300),
  );
});
