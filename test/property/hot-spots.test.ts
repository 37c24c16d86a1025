import { HeavyHitters, KnownIds } from '@spill/core';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { HotSpots } from '../../packages/node/dist/shard/hot-spots.js';
import { addKnown } from '../support/add-known.js';
import { runs } from '../support/property-runs.js';

const KEY = { k0: 1, k1: 2 };

describe('where the traffic of a shard goes to', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['performance'] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  /** Of records with so many transactions each, of accounts that take turns; over two seconds. */
  function report(records: readonly number[], accounts: number): ReturnType<HotSpots['report']> {
    const known = new KnownIds(KEY, (account) => Number(account));
    const hot = new HotSpots(known);
    let made = 0;
    records.forEach((count, record) => {
      const from = known.endPlace;
      const rows = Array.from({ length: count }, () => {
        made += 1;
        return { account: `${made % accounts}`, id: `${made}`, amount: 1n, timestamp: 1 };
      });
      addKnown(known, KEY, rows, record + 1);
      hot.add(from, known.endPlace);
    });
    vi.advanceTimersByTime(2_000);
    return hot.report();
  }

  it('counts each transaction of small records', () => {
    const { slots } = report(
      Array.from({ length: 10 }, () => 500),
      5,
    );
    expect(slots.map(([slot, rate]) => [slot, rate]).sort()).toEqual([0, 1, 2, 3, 4].map((slot) => [slot, 500]));
  });

  it('samples large ones: evenly, also of accounts that take turns', () => {
    for (const accounts of [1, 2, 3, 5, 7, 8, 10, 13, 15, 16, 64]) {
      const { slots, accounts: names } = report(
        Array.from({ length: 40 }, () => 8_000),
        accounts,
      );
      expect(slots.length).toBe(accounts);
      const rate = (40 * 8_000) / 2 / accounts;
      for (const [, told] of slots) expect(Math.abs(told - rate)).toBeLessThan(0.05 * rate + 6 * Math.sqrt(8 * rate));
      expect(names.length).toBe(Math.min(10, accounts));
    }
  });

  it('passes over nothing for long where small records follow large ones', () => {
    const { slots } = report([8_000, ...Array.from({ length: 2_000 }, () => 1)], 1);
    expect(slots).toHaveLength(1);
    expect(Math.abs(slots[0]![1] - 5_000)).toBeLessThan(500);
  });
});

it('the most frequent of many keys: no count too low, none too high by more than the least', () => {
  const key = fc.oneof(fc.nat(4), fc.nat(60));
  fc.assert(
    fc.property(fc.array(key, { maxLength: 400 }), fc.integer({ min: 1, max: 12 }), (keys, keysMax) => {
      const hitters = new HeavyHitters(keysMax);
      const counts = new Map<string, number>();
      for (const key of keys) {
        hitters.add(`${key}`);
        counts.set(`${key}`, (counts.get(`${key}`) ?? 0) + 1);
      }
      const top = hitters.top(keysMax);
      expect(top.length).toBe(Math.min(keysMax, counts.size));
      expect(top.reduce((sum, [, count]) => sum + count, 0)).toBe(keys.length);
      const least = counts.size <= keysMax ? 0 : top.at(-1)![1];
      for (const [key, count] of top) {
        expect(count).toBeGreaterThanOrEqual(counts.get(key)!);
        expect(count - least).toBeLessThanOrEqual(counts.get(key)!);
      }
      // What is not among them is no more frequent than the least of them.
      const kept = new Set(top.map(([key]) => key));
      for (const [key, count] of counts) if (!kept.has(key)) expect(count).toBeLessThanOrEqual(least);
    }),
    runs(300),
  );
});

it('after a fade, too, a new key takes the place of one with the least count', () => {
  const hitters = new HeavyHitters(3);
  for (const key of ['a', 'a', 'a', 'a', 'b', 'b', 'c', 'c']) hitters.add(key);
  hitters.add('d');
  hitters.fade();
  hitters.add('b', 10);
  hitters.add('e');
  expect(new Map(hitters.top(3)).get('a')).toBe(2);
  hitters.fade();
  hitters.fade();
  hitters.add('f');
  expect(hitters.top(3).map(([key]) => key)).toContain('f');
});
