import { FOLD_RETRY_POLICY, nextFoldAttempt, setAsideBackoffMs } from '@spill/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

const random = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });

describe('the next attempt of a fold', () => {
  it('ends: transient errors alone lead to one record set aside, in a bounded number of attempts and of time', () => {
    fc.assert(
      fc.property(fc.integer({ min: 1, max: 5_000 }), random, (start, r) => {
        let records = start;
        let waited = 0;
        for (let attempt = 1; ; attempt += 1) {
          expect(attempt).toBeLessThan(FOLD_RETRY_POLICY.attemptsMax + 15);
          const next = nextFoldAttempt('transient', records, attempt, r);
          waited += next.delayMs;
          expect(next.records).toBeGreaterThanOrEqual(1);
          expect(next.records).toBeLessThanOrEqual(Math.max(1, records / 2));
          if (next.setAsideAll) break;
          records = next.records;
        }
        expect(records).toBe(1);
        expect(waited).toBeLessThan(30_000);
      }),
    );
  });

  it('waits without end, sets nothing aside and halves nothing, where the database is away or a table locked', () => {
    fc.assert(
      fc.property(
        fc.constantFrom('unavailable' as const, 'blocked' as const),
        fc.integer({ min: 1, max: 5_000 }),
        fc.integer({ min: 1, max: 1_000_000 }),
        random,
        (failure, records, attempt, r) => {
          const next = nextFoldAttempt(failure, records, attempt, r);
          expect(next).toMatchObject({ records, setAsideAll: false });
          expect(next.delayMs).toBeLessThanOrEqual(FOLD_RETRY_POLICY.delayMsMax);
          expect(next.delayMs).toBeGreaterThan(0);
        },
      ),
    );
  });
});

describe('the back-off of set-aside accounts', () => {
  it('doubles from 1 s to 5 min', () => {
    expect([1, 2, 3, 9, 10, 1_000].map(setAsideBackoffMs)).toEqual([1_000, 2_000, 4_000, 256_000, 300_000, 300_000]);
  });
});
