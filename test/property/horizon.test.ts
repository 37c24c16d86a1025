/**
 * The horizon while clocks are set, wrong, and right again: this machine's, JetStream's, or both at once where they are
 * one and the same. Time is in microseconds; one step of a run is some seconds.
 */
import { type HorizonRules, proposeHorizon } from '@spill/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { runs } from '../support/property-runs.js';

const SECOND = 1_000_000;
const HOUR = 3_600 * SECOND;
const YEAR = 8_766 * HOUR;
const RULES: HorizonRules = { windowMicros: 600 * SECOND, maxClockSkewMicros: 60 * SECOND };
const BEGIN = 1_700_000_000 * SECOND;

interface Step {
  readonly seconds: number;
  readonly record: boolean;
  readonly restart: boolean;
  readonly wallOff: number;
  /** JetStream's clock is wrong by the same; otherwise it is right. */
  readonly both: boolean;
}

const off = fc.oneof(
  { weight: 6, arbitrary: fc.constant(0) },
  { weight: 3, arbitrary: fc.integer({ min: -90 * SECOND, max: 90 * SECOND }) },
  { weight: 2, arbitrary: fc.constantFrom(HOUR, -HOUR, YEAR, -YEAR) },
);

const steps = fc.array(
  fc.record({
    seconds: fc.oneof(fc.integer({ min: 1, max: 5 }), fc.constantFrom(60, 3_600)),
    record: fc.boolean(),
    restart: fc.oneof({ weight: 9, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) }),
    wallOff: off,
    both: fc.boolean(),
  }),
  { maxLength: 60, size: 'max' },
);

/** What the runtime keeps between two proposals. */
class Keeper {
  horizon = BEGIN - RULES.windowMicros;
  /** True time, which the monotonic clock follows. */
  now = BEGIN;
  wall = BEGIN;
  lastRecordTime = BEGIN;
  private lastRecordAt = BEGIN;
  lastInstant = BEGIN;
  private lastInstantAt = BEGIN;

  step(step: Step): { before: number; ceiling: number; skewed: boolean } {
    this.now += step.seconds * SECOND;
    this.wall = this.now + step.wallOff;
    if (step.record) {
      this.lastRecordTime = this.now + (step.both ? step.wallOff : 0);
      this.lastRecordAt = this.now;
    }
    if (step.restart) {
      this.lastInstant = this.horizon + RULES.windowMicros;
      this.lastInstantAt = this.now;
    }
    const before = this.horizon;
    const clocks = {
      now: this.wall,
      lastRecordTime: this.lastRecordTime,
      sinceLastRecord: this.now - this.lastRecordAt,
      lastInstant: this.lastInstant,
      sinceLastInstant: this.now - this.lastInstantAt,
    };
    const proposal = proposeHorizon(this.horizon, clocks, RULES);
    const ceiling = Math.min(clocks.now, clocks.lastRecordTime, clocks.lastInstant + 2 * clocks.sinceLastInstant);
    this.horizon = proposal.horizon;
    this.lastInstant = proposal.instant;
    this.lastInstantAt = this.now;
    return { before, ceiling: ceiling - RULES.windowMicros, skewed: proposal.skewed };
  }
}

describe('a horizon', () => {
  it('never goes back, and goes forward only as far as three clocks agree', () => {
    fc.assert(
      fc.property(steps, (steps) => {
        const keeper = new Keeper();
        for (const step of steps) {
          const { before, ceiling, skewed } = keeper.step(step);
          expect(Number.isSafeInteger(keeper.horizon)).toBe(true);
          expect(keeper.horizon).toBeGreaterThanOrEqual(before);
          if (keeper.horizon > before) expect(keeper.horizon).toBeLessThanOrEqual(ceiling);
          if (skewed) expect(keeper.horizon).toBe(before);
          // Whatever both clocks say, an hour of a wrong clock is worth two.
          const elapsed = keeper.now - BEGIN;
          expect(keeper.horizon).toBeLessThanOrEqual(BEGIN - RULES.windowMicros + 2 * elapsed);
        }
      }),
      runs(400),
    );
  });

  it('stands still where the clocks differ by more than max_clock_skew', () => {
    fc.assert(
      fc.property(fc.constantFrom(61, -61, 3_600, -3_600), fc.boolean(), (seconds, record) => {
        const keeper = new Keeper();
        const step = { seconds: 1, record, restart: false, wallOff: seconds * SECOND, both: false };
        const before = keeper.horizon;
        expect(keeper.step(step).skewed).toBe(true);
        expect(keeper.horizon).toBe(before);
        expect(keeper.step({ ...step, wallOff: 59 * SECOND, record: true }).skewed).toBe(false);
      }),
      runs(20),
    );
  });

  it('is not next year because both clocks were for a second (hazard 34)', () => {
    const keeper = new Keeper();
    const right = { seconds: 1, record: true, restart: false, wallOff: 0, both: true };
    for (let i = 0; i < 10; i++) keeper.step(right);
    const before = keeper.horizon;
    keeper.step({ ...right, wallOff: YEAR });
    expect(keeper.horizon - before).toBeLessThanOrEqual(2 * SECOND);
    keeper.step({ ...right, restart: true });
    expect(keeper.horizon - before).toBeLessThanOrEqual(4 * SECOND);
    // And it is where it belongs as soon as time has come up with it.
    for (let i = 0; i < 5; i++) keeper.step(right);
    expect(keeper.horizon).toBe(keeper.now - RULES.windowMicros);
  });

  it('is not held back for a year because both clocks were a year behind for a second', () => {
    const keeper = new Keeper();
    const right = { seconds: 1, record: true, restart: false, wallOff: 0, both: true };
    keeper.step({ ...right, wallOff: -YEAR });
    expect(keeper.horizon).toBe(BEGIN - RULES.windowMicros);
    for (let i = 0; i < 3; i++) keeper.step(right);
    expect(keeper.horizon).toBe(keeper.now - RULES.windowMicros);
  });

  it('catches up after a standstill, at double speed', () => {
    const keeper = new Keeper();
    keeper.step({ seconds: 3_600, record: true, restart: false, wallOff: HOUR, both: false });
    expect(keeper.horizon).toBe(BEGIN - RULES.windowMicros);
    const right = { seconds: 60, record: true, restart: false, wallOff: 0, both: true };
    for (let i = 0; i < 59; i++) keeper.step(right);
    expect(keeper.horizon).toBeLessThan(keeper.now - RULES.windowMicros);
    for (let i = 0; i < 2; i++) keeper.step(right);
    expect(keeper.horizon).toBe(keeper.now - RULES.windowMicros);
  });
});
