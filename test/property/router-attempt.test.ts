import {
  ATTEMPT_RULES,
  type AttemptEvent,
  afterLook,
  type Doubt,
  type Look,
  REMAINING_MS_MIN,
  RESTAMP_ABOVE_HORIZON_US,
  restamp,
} from '@spill/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

const EVENTS = Object.keys(ATTEMPT_RULES) as AttemptEvent[];
const DOUBTS: readonly Doubt[] = ['clear', 'in_doubt'];

/** After these, the transaction may be stored although nobody has said so. */
const MAY_BE_STORED: readonly AttemptEvent[] = ['unavailable', 'replaced', 'no_answer'];

const look: fc.Arbitrary<Look> = fc.record({
  event: fc.constantFrom(...EVENTS),
  doubt: fc.constantFrom(...DOUBTS),
  topologyRead: fc.boolean(),
  targetChanged: fc.boolean(),
  unreachableMs: fc.nat(10_000),
  directAfterMs: fc.constantFrom(0, 1_000, 5_000),
  remainingMs: fc.oneof(fc.integer({ min: -50, max: 50 }), fc.nat(10_000)),
  attempts: fc.integer({ min: 1, max: 1_000 }),
});

describe('what the end of an attempt means', () => {
  it.each(EVENTS.flatMap((event) => DOUBTS.map((doubt) => [event, doubt] as const)))('%s, %s', (event, doubt) => {
    const rule = ATTEMPT_RULES[event][doubt];
    if (rule.step === 'answer') expect(event).toBe('answered');
    if (rule.step === 'look' || rule.step === 'restamp') {
      // A doubt never goes away, and arises where the attempt may have been stored.
      expect(rule.doubt).toBe(doubt === 'in_doubt' || MAY_BE_STORED.includes(event) ? 'in_doubt' : 'clear');
    }
    if (rule.step === 'give_up') {
      // To be tried again, but for what certainly is not stored and no shard could read: a fault of spill's own.
      expect(rule.code === 'internal').toBe(event === 'malformed' && doubt === 'clear');
    }
  });
});

describe('what comes after looking the topology up', () => {
  it('goes the direct path only where non-delivery is certain, and has been for long enough', () => {
    fc.assert(
      fc.property(look, (it) => {
        if (afterLook(it).next !== 'direct') return;
        expect(it.event).toBe('no_responders');
        expect(it.doubt).toBe('clear');
        expect(it.topologyRead).toBe(true);
        expect(it.targetChanged).toBe(false);
        expect(it.unreachableMs).toBeGreaterThanOrEqual(it.directAfterMs);
        expect(it.remainingMs).toBeGreaterThanOrEqual(REMAINING_MS_MIN);
      }),
      { numRuns: 3_000 },
    );
  });

  it('goes it then', () => {
    const certain: Look = {
      event: 'no_responders',
      doubt: 'clear',
      topologyRead: true,
      targetChanged: false,
      unreachableMs: 1_000,
      directAfterMs: 1_000,
      remainingMs: 2_000,
      attempts: 9,
    };
    expect(afterLook(certain)).toEqual({ next: 'direct' });
    for (const event of ['no_answer', 'overloaded', 'unavailable', 'late', 'replaced', 'moved', 'not_sent'] as const) {
      expect(afterLook({ ...certain, event }).next).toBe('wait');
    }
    expect(afterLook({ ...certain, doubt: 'in_doubt' }).next).toBe('wait');
    expect(afterLook({ ...certain, topologyRead: false }).next).toBe('wait');
    expect(afterLook({ ...certain, targetChanged: true }).next).toBe('send');
    expect(afterLook({ ...certain, unreachableMs: 999 }).next).toBe('wait');
  });

  it('never waits past the deadline, and gives up with an error that is safe to repeat', () => {
    fc.assert(
      fc.property(look, (it) => {
        const next = afterLook(it);
        if (it.remainingMs < REMAINING_MS_MIN) expect(next.next).toBe('give_up');
        if (next.next === 'wait') {
          expect(next.waitMs).toBeGreaterThan(0);
          expect(next.waitMs).toBeLessThan(it.remainingMs);
        }
        if (next.next === 'give_up') expect(['unavailable', 'timeout']).toContain(next.code);
      }),
      { numRuns: 3_000 },
    );
  });

  it('ends: however an attempt fails each time, the tries within a deadline are bounded', () => {
    fc.assert(
      fc.property(fc.array(look, { minLength: 1, maxLength: 50 }), fc.nat(5_000), (looks, deadlineMs) => {
        let remainingMs = deadlineMs;
        let attempts = 0;
        for (;;) {
          const it = looks[attempts % looks.length]!;
          attempts += 1;
          // With a topology that changes each time, each attempt takes at least a round trip.
          const next = afterLook({ ...it, attempts, remainingMs });
          if (next.next === 'give_up' || next.next === 'direct') break;
          remainingMs -= next.next === 'wait' ? next.waitMs : 0.2;
        }
        expect(attempts).toBeLessThanOrEqual(deadlineMs / 0.2 + 1);
      }),
    );
  });
});

describe('a new stamp', () => {
  it('is above the horizon, by a whole number of microseconds, and higher each time', () => {
    fc.assert(
      fc.property(
        fc.double({ min: 0, max: 2 ** 52, noNaN: true }),
        fc.integer({ min: 1, max: 8 }),
        (horizon, times) => {
          const stamp = restamp(horizon, times);
          expect(Number.isSafeInteger(stamp)).toBe(true);
          expect(stamp).toBeGreaterThan(horizon);
          expect(stamp - Math.floor(horizon)).toBe(times * RESTAMP_ABOVE_HORIZON_US);
        },
      ),
    );
  });
});
