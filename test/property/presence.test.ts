import { Presence } from '@spill/core';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { runs } from '../support/property-runs.js';

const SILENCE_MS = 5_000;
const ROUND_MS = 1_000;
const ANSWER_MS = 900;
const OTHERS = ['b', 'c', 'd', 'e'] as const;

interface Round {
  /** From the end of the round before to the beginning of this one. */
  readonly gapMs: number;
  readonly tookMs: number;
  readonly heard: readonly string[];
  readonly topologyRead: boolean;
}

/** One node's view of the others; its clock stands where the last thing happened. */
class World {
  now = 1_000;
  readonly presence: Presence;

  constructor(readonly others: readonly string[] = OTHERS) {
    this.presence = new Presence('a', SILENCE_MS, this.now);
  }

  round({ gapMs, tookMs, heard, topologyRead }: Round): void {
    this.now += gapMs;
    this.presence.beginRound(this.others, this.now);
    this.now += tookMs;
    for (const name of heard) this.presence.heard(name, this.now);
    this.presence.endRound({ asked: this.others.length, answered: heard.length, topologyRead }, this.now);
  }

  /** A second, and what was heard in it. */
  second(heard: readonly string[], topologyRead = true): void {
    this.round({ gapMs: ROUND_MS - ANSWER_MS, tookMs: ANSWER_MS, heard, topologyRead });
  }

  get dead(): string[] {
    const alive = this.presence.alive(this.others, this.now);
    expect(alive.has('a')).toBe(true);
    return this.others.filter((name) => !alive.has(name));
  }
}

describe('who is dead', () => {
  test('a node that is silent as long as it may be, and no sooner', () => {
    const world = new World();
    world.second(OTHERS);
    for (let i = 0; i < 4; i++) {
      world.second(['c', 'd', 'e']);
      expect(world.dead).toEqual([]);
    }
    world.second(['c', 'd', 'e']);
    expect(world.dead).toEqual(['b']);
    world.second(OTHERS);
    expect(world.dead).toEqual([]);
  });

  test('one that stood still lets nobody die, whether it looks first or asks first', () => {
    for (const asksFirst of [false, true]) {
      const world = new World();
      world.second(OTHERS);
      if (asksFirst) world.round({ gapMs: 15_000, tookMs: ANSWER_MS, heard: [], topologyRead: true });
      else world.now += 15_000;
      expect(world.dead).toEqual([]);
    }
  });

  test('one that was cut off lets nobody die, neither meanwhile nor when it is healed', () => {
    const world = new World();
    world.second(OTHERS);
    for (let i = 0; i < 20; i++) world.second([], false);
    expect(world.dead).toEqual([]);
    // Healed, and looking before its next round has ended.
    world.now += 500;
    expect(world.dead).toEqual([]);
    world.second([], true);
    for (let i = 0; i < 4; i++) {
      expect(world.dead).toEqual([]);
      world.second(['c', 'd', 'e']);
    }
    world.second(['c', 'd', 'e']);
    expect(world.dead).toEqual(['b']);
  });

  test('one that nobody asked while it was cut off lets nobody die right after', () => {
    const world = new World();
    for (let i = 0; i < 20; i++) world.second([], false);
    world.second(['c', 'd', 'e'], true);
    expect(world.dead).toEqual([]);
  });

  test('an election in which the topology cannot be read excuses nobody, as long as a majority is heard', () => {
    const world = new World(['b', 'c']);
    world.second(['b', 'c']);
    for (let i = 0; i < 5; i++) world.second(['c'], false);
    expect(world.dead).toEqual(['b']);
  });

  test('whatever happens, nobody is dead without having been silent while this node could hear', () => {
    const round: fc.Arbitrary<Round & { looks: boolean }> = fc.record({
      looks: fc.boolean(),
      gapMs: fc.oneof(fc.integer({ min: 0, max: 400 }), fc.integer({ min: 0, max: 20_000 })),
      tookMs: fc.integer({ min: 0, max: ANSWER_MS }),
      heard: fc.subarray([...OTHERS]),
      topologyRead: fc.boolean(),
    });
    const rounds = fc.array(round, { minLength: 1, maxLength: 40 });
    fc.assert(
      fc.property(rounds, (all) => {
        const world = new World();
        const heardAt = new Map<string, number>();
        let couldHearSince = world.now;
        let deaf = false;
        let beganAt = world.now;
        for (const round of all) {
          world.round(round);
          // A standstill is seen by rounds that begin too far apart: what an answer takes is none.
          const begins = world.now - round.tookMs;
          if (begins - beganAt > 2_500) couldHearSince = Math.max(couldHearSince, begins);
          beganAt = begins;
          if (!round.topologyRead && (1 + round.heard.length) * 2 <= 1 + OTHERS.length) deaf = true;
          else if (round.topologyRead && deaf) {
            deaf = false;
            couldHearSince = world.now;
          }
          for (const name of round.heard) heardAt.set(name, world.now);
          if (!round.looks) continue;
          if (deaf) expect(world.dead).toEqual([]);
          for (const name of world.dead) {
            expect(world.now - couldHearSince).toBeGreaterThanOrEqual(SILENCE_MS);
            expect(world.now - (heardAt.get(name) ?? 0)).toBeGreaterThanOrEqual(SILENCE_MS);
          }
        }
      }),
      runs(1_000),
    );
  });
});
