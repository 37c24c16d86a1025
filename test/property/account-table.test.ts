/** The numbers of accounts against a Map, with hashes that many accounts share; and the exact sums by such a number. */
import { BatchBuilder, KnownIds, locateKeys, NONE, readBatch } from '@spill/core';
import fc from 'fast-check';
import { expect, it } from 'vitest';
import { AccountSums } from '../../packages/core/dist/shard/account-sums.js';
import { AccountTable } from '../../packages/core/dist/shard/account-table.js';
import { addKnown } from '../support/add-known.js';
import { runs } from '../support/property-runs.js';

/** Short ones, which are compared by the bytes beside the number, of 16 bytes at most; and others. */
const name = (n: number): string =>
  n % 4 === 0 ? `a${n}` : n % 4 === 1 ? `${n}`.padStart(16, '0') : n % 4 === 2 ? `${n}`.padStart(17, '0') : `ä${n}`;

const slotOf = (account: string): number =>
  [...account].reduce((slot, letter) => (31 * slot + letter.charCodeAt(0)) % 1_024, 0);

it('gives each account one number as long as it has entries, however many share its hash', () => {
  const step = fc.record({ account: fc.nat(30), add: fc.boolean() });
  fc.assert(
    fc.property(fc.array(step, { minLength: 1, maxLength: 200 }), fc.constantFrom(1, 2, 7, 1_000), (steps, hashes) => {
      const hash = (n: number): number => Math.imul(n % hashes, 0x9e37_79b1) >>> 0;
      const table = new AccountTable(slotOf);
      const model = new Map<number, { number: number; entries: number[] }>();
      steps.forEach(({ account, add }, entry) => {
        const known = model.get(account);
        if (add) {
          const number = table.intern(name(account), hash(account), slotOf(name(account)));
          if (known) expect(number).toBe(known.number);
          const { entries } = known ?? { entries: [] };
          model.set(account, { number, entries: [...entries, entry] });
          expect(table.push(number, entry)).toBe(entries.at(-1) ?? 0xffff_ffff);
        } else if (known) {
          table.release(known.number);
          known.entries.shift();
          if (known.entries.length === 0) model.delete(account);
        }
        const numbers = new Set([...model.values()].map(({ number }) => number));
        expect([numbers.size, table.size]).toEqual([model.size, model.size]);
      });
      const batch = new BatchBuilder();
      for (let n = 0; n <= 30; n++) batch.add(name(n), 'x', 1n, 1, false);
      const found = table.numbersOf(
        readBatch(batch.finish()),
        Uint32Array.from({ length: 31 }, (_, n) => hash(n)),
      );
      for (let n = 0; n <= 30; n++) {
        const number = model.get(n)?.number ?? -1;
        expect([found.numbers[n], table.numberOf(name(n), hash(n))]).toEqual([number, number]);
        expect(found.slots[n]).toBe(slotOf(name(n)));
        if (number < 0) continue;
        expect([table.name(number), table.slot(number)]).toEqual([name(n), slotOf(name(n))]);
        expect(table.entries(number)).toBe(model.get(n)?.entries.length);
      }
    }),
    runs(200),
  );
});

it('finds all accounts of a large batch, a few of which share a hash', () => {
  const table = new AccountTable(slotOf);
  const builder = new BatchBuilder();
  const hashes = Uint32Array.from({ length: 8_000 }, (_, n) => Math.imul(n % 7_000, 0x9e37_79b1) >>> 0);
  for (let n = 0; n < 8_000; n++) builder.add(name(n), 'x', 1n, 1, false);
  const batch = readBatch(builder.finish());
  expect(batch.accountCount).toBe(8_000);
  for (let n = 0; n < 8_000; n += 2) table.push(table.intern(name(n), hashes[n]!, slotOf(name(n))), n);
  const { numbers, slots } = table.numbersOf(batch, hashes);
  for (let n = 0; n < 8_000; n++) {
    expect([numbers[n], slots[n]]).toEqual([n % 2 === 0 ? n / 2 : -1, slotOf(name(n))]);
  }
});

it('numbers that were found before one was given back are not used after', () => {
  const key = { k0: 1, k1: 2 };
  const known = new KnownIds(key, () => 0);
  const row = (account: string, timestamp: number) => ({ account, id: 'x', amount: 1n, timestamp });
  addKnown(known, key, [row('gone', 1)], 1);
  const builder = new BatchBuilder();
  builder.add('gone', 'y', 1n, 9, false);
  const batch = readBatch(builder.finish());
  const keys = locateKeys(key, batch);
  keys.numbers = known.accountNumbers(batch, keys);
  known.forget(5, 1, 0);
  known.sweep(10);
  addKnown(known, key, [row('another', 9)], 2);
  known.addRows(batch, null, 3, keys);
  expect(known.account(known.lookUp('gone', 'y'))).toBe('gone');
  expect(known.lookUp('another', 'y')).toBe(NONE);
});

it('sums by account number are exact, however large', () => {
  const half = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
  const run = fc.record({
    account: fc.constantFrom(0, 1, 1_023, 1_024, 5_000),
    low: fc.integer({ min: 0, max: 2 ** 52 - 1 }),
    high: fc.oneof(half, fc.constantFrom(2 ** 51, -(2 ** 51), 2 ** 52 - 1)),
    count: fc.nat(1_000),
    takenBack: fc.boolean(),
  });
  fc.assert(
    fc.property(fc.array(run, { maxLength: 60 }), (all) => {
      const sums = new AccountSums();
      const model = new Map<number, { sum: bigint; count: number }>();
      for (const { account, low, high, count, takenBack } of all) {
        sums.add(account, low, high, count);
        if (takenBack) {
          sums.subtract(account, { sum: BigInt(low) + (BigInt(high) << 32n), count });
        } else {
          const before = model.get(account) ?? { sum: 0n, count: 0 };
          const sum = before.sum + BigInt(low) + (BigInt(high) << 32n);
          model.set(account, { sum, count: before.count + count });
        }
      }
      for (const account of [0, 1, 2, 1_023, 1_024, 5_000, 9_999]) {
        expect(sums.get(account)).toEqual(model.get(account) ?? { sum: 0n, count: 0 });
      }
      // More than a fold could take back at once, in one go.
      for (const [account, all] of model) sums.subtract(account, all);
      for (const account of model.keys()) expect(sums.get(account)).toEqual({ sum: 0n, count: 0 });
    }),
    runs(300),
  );
});
