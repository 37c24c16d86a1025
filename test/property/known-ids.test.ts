import { KnownIds, NONE } from '@spill/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { addKnown } from '../support/add-known.js';
import { runs } from '../support/property-runs.js';

const KEY = { k0: 0x1234_5678, k1: 0x0bad_cafe | 0 };
const encoder = new TextEncoder();

interface ModelEntry {
  readonly account: string;
  readonly id: string;
  readonly amount: bigint;
  readonly timestamp: number;
  readonly sequence: number;
}

/** What the known ids should say, as a plain list in log order. */
class Model {
  readonly all: ModelEntry[] = [];
  swept = 0;
  spans: { below: number; upTo: number }[] = [];

  isForgotten(entry: ModelEntry): boolean {
    return this.spans.some((span) => entry.timestamp < span.below && entry.sequence <= span.upTo);
  }

  get known(): ModelEntry[] {
    return this.all.filter((entry) => !this.isForgotten(entry));
  }

  find(account: string, id: string): ModelEntry | undefined {
    return this.known.find((entry) => entry.account === account && entry.id === id);
  }
}

type Command =
  | {
      readonly kind: 'add';
      readonly account: number;
      readonly id: string;
      readonly amount: bigint;
      readonly age: number;
      readonly nextRecord: boolean;
    }
  | { readonly kind: 'forget'; readonly horizon: number; readonly foldedUpTo: number }
  | { readonly kind: 'sweep'; readonly budget: number }
  | { readonly kind: 'pin'; readonly back: number };

/** As an id may be at most. */
const isShort = (id: string): boolean => encoder.encode(id).length <= 64;

const amount = fc.oneof(
  fc.bigInt({ min: -(2n ** 63n) + 1n, max: 2n ** 63n - 1n }),
  fc.bigInt({ min: -5n, max: 5n }),
  fc.constantFrom(2n ** 32n, -(2n ** 32n), 2n ** 32n - 1n, 2n ** 31n, -(2n ** 31n), 2n ** 63n - 1n, -(2n ** 63n) + 1n),
);

const command: fc.Arbitrary<Command> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({
      kind: fc.constant('add' as const),
      account: fc.nat(6),
      id: fc.oneof(
        { weight: 3, arbitrary: fc.constantFrom('a', 'b', 'c', 'd', 'aa', 'ab', 'abcd', 'abcde') },
        { weight: 1, arbitrary: fc.string({ minLength: 1, maxLength: 16, unit: 'grapheme' }).filter(isShort) },
        { weight: 1, arbitrary: fc.nat(1_000_000).map((n) => `${n}`.padStart(64, '0')) },
      ),
      amount,
      age: fc.nat(20),
      nextRecord: fc.boolean(),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant('forget' as const), horizon: fc.nat(60), foldedUpTo: fc.nat(30) }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('sweep' as const), budget: fc.nat(12) }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('pin' as const), back: fc.nat(4) }) },
);

/** A hash of a key that every entry of every account shares with half of the others. */
const weakHash = ({ id }: { id: string }): number => encoder.encode(id).length & 1;

function lookUp(known: KnownIds, account: string, id: string, weak = false): number {
  if (!weak) return known.lookUp(account, id);
  const number = known.accountNumber(account);
  const bytes = encoder.encode(id);
  return number < 0 ? NONE : known.find(number, weakHash({ id }), bytes, 0, bytes.length);
}

function add(known: KnownIds, entry: ModelEntry, weak = false): void {
  addKnown(known, KEY, [entry], entry.sequence, weak ? weakHash : undefined);
}

function seen(known: KnownIds, entry: number): ModelEntry {
  const amount = known.amount(entry);
  expect((BigInt(known.amountHigh(entry)) << 32n) + BigInt(known.amountLow(entry))).toBe(amount);
  return {
    account: known.account(entry),
    id: known.id(entry),
    amount,
    timestamp: known.timestamp(entry),
    sequence: known.sequence(entry),
  };
}

function compare(known: KnownIds, model: Model, weak: boolean): void {
  expect([...known.entries()].map((entry) => seen(known, entry))).toEqual(model.known);
  const inMemory = model.all.slice(model.swept);
  expect(known.size).toBe(inMemory.length);
  expect(known.accountCount).toBe(new Set(inMemory.map((entry) => entry.account)).size);
  for (const { account, id } of model.all) {
    const found = lookUp(known, account, id, weak);
    expect(found === NONE ? undefined : seen(known, found)).toEqual(model.find(account, id));
  }
  const last = model.all.at(-1)?.sequence ?? 0;
  for (const sequence of [0, Math.floor(last / 2), last - 1, last]) {
    if (sequence < 0) continue;
    const beyond = inMemory.filter((entry) => entry.sequence > sequence);
    const places = known.endPlace - known.firstAfter(sequence);
    expect(places).toBe(beyond.length);
    for (const account of new Set(model.all.map((entry) => entry.account))) {
      const entries = [...known.entriesOfAccount(account, sequence)].map((entry) => seen(known, entry));
      expect(entries).toEqual(beyond.filter((entry) => entry.account === account).reverse());
    }
  }
  for (let place = known.firstAfter(0), i = 0; place < known.endPlace; place++, i++) {
    expect(seen(known, known.at(place))).toEqual(inMemory[i]);
  }
}

/** Runs commands on both; `segmentEntries` small, so that every run crosses many segments. */
function run(commands: readonly Command[], segmentEntries: number, weak: boolean): void {
  const known = new KnownIds(KEY, (account) => account.length, segmentEntries);
  const model = new Model();
  let sequence = 1;
  let time = 30;
  let pinned = Number.POSITIVE_INFINITY;
  for (const step of commands) {
    switch (step.kind) {
      case 'add': {
        if (step.nextRecord) sequence += 1;
        time += 1;
        const account = `account-${step.account}`;
        if (model.find(account, step.id)) break;
        const entry = { account, id: step.id, amount: step.amount, timestamp: time - step.age, sequence };
        add(known, entry, weak);
        model.all.push(entry);
        break;
      }
      case 'forget': {
        // Only acknowledged records are folded. What was forgotten stays within the spans that are handed over.
        const { horizon } = step;
        const foldedUpTo = Math.min(step.foldedUpTo, sequence - 1);
        model.spans = model.spans.filter((span) => span.below > horizon || span.upTo > foldedUpTo);
        const first = known.forget(horizon, foldedUpTo, 999, model.spans);
        model.spans = [{ below: horizon, upTo: foldedUpTo }, ...model.spans];
        expect(first).toBe(model.known[0]?.sequence ?? 999);
        break;
      }
      case 'sweep': {
        const front = model.all.findIndex((entry) => !model.isForgotten(entry));
        const end = front < 0 ? model.all.length : front;
        let expected = 0;
        while (
          expected < step.budget &&
          model.swept + expected < end &&
          (model.all[model.swept + expected] as ModelEntry).sequence <= pinned
        ) {
          expected += 1;
        }
        expect(known.sweep(step.budget)).toBe(expected);
        model.swept += expected;
        break;
      }
      case 'pin':
        pinned = sequence - step.back;
        known.pin(pinned);
        break;
    }
    const lastSwept = model.all[model.swept - 1]?.sequence ?? 0;
    expect(known.completeAbove).toBe(lastSwept);
  }
  compare(known, model, weak);
}

describe('known ids', () => {
  it('say what a plain list says, over segment bounds, whatever is forgotten, swept and numbered again', () => {
    fc.assert(
      fc.property(
        fc.array(command, { maxLength: 120, size: 'max' }),
        fc.constantFrom(1, 2, 3, 7, 16, 64),
        fc.boolean(),
        (commands, segmentEntries, weak) => run(commands, segmentEntries, weak),
      ),
      runs(250),
    );
  });

  it('keep every key findable while partitions grow and shrink by backward shifts', () => {
    fc.assert(
      fc.property(
        fc.array(fc.record({ add: fc.nat(4_000), keep: fc.nat(4_000) }), { minLength: 1, maxLength: 4 }),
        fc.constantFrom(1_000, 4_096),
        fc.nat(3),
        (rounds, segmentEntries, accounts) => {
          const known = new KnownIds(KEY, () => 0, segmentEntries);
          let next = 0;
          let gone = 0;
          const entry = (n: number): ModelEntry => ({
            account: `a${n % (accounts + 1)}`,
            id: `${n}`,
            amount: BigInt(n + 1),
            timestamp: n,
            sequence: n + 1,
          });
          for (const round of rounds) {
            for (let i = 0; i < round.add; i++) add(known, entry(next++));
            gone = Math.max(gone, next - round.keep);
            known.forget(gone, next, next);
            known.sweep(Number.MAX_SAFE_INTEGER);
            expect(known.size).toBe(next - gone);
            for (let n = Math.max(0, gone - 50); n < next; n++) {
              const found = lookUp(known, `a${n % (accounts + 1)}`, `${n}`);
              if (n < gone) expect(found).toBe(NONE);
              else if (found === NONE || known.sequence(found) !== n + 1) expect.fail(`${n} is not found`);
            }
          }
        },
      ),
      runs(20),
    );
  });

  it('give an account number again only when nothing of its account is left', () => {
    const known = new KnownIds(KEY, () => 0, 2);
    const entry = (account: string, id: string, sequence: number): ModelEntry => ({
      account,
      id,
      amount: 1n,
      timestamp: sequence,
      sequence,
    });
    add(known, entry('first', 'x', 1));
    add(known, entry('first', 'y', 2));
    known.forget(2, 1, 9);
    known.sweep(10);
    expect(known.accountNumber('first')).toBe(0);
    add(known, entry('second', 'x', 3));
    expect(known.accountNumber('second')).toBe(1);
    known.forget(3, 2, 9);
    known.sweep(10);
    expect(known.accountNumber('first')).toBe(-1);
    add(known, entry('third', 'y', 4));
    expect(known.accountNumber('third')).toBe(0);
    expect(lookUp(known, 'first', 'y')).toBe(NONE);
    expect(seen(known, lookUp(known, 'third', 'y'))).toEqual(entry('third', 'y', 4));
    expect([...known.entriesOfAccount('third', 0)]).toHaveLength(1);
  });

  it('meet the bound of a real segment', () => {
    const known = new KnownIds(KEY, () => 0);
    for (let n = 0; n < 70_000; n++) {
      add(known, { account: 'a', id: `${n}`, amount: 1n, timestamp: n, sequence: n + 1 });
    }
    known.forget(66_000, 70_000, 0);
    expect(known.sweep(Number.MAX_SAFE_INTEGER)).toBe(66_000);
    for (const n of [65_534, 65_535, 65_999]) expect(lookUp(known, 'a', `${n}`)).toBe(NONE);
    for (const n of [66_000, 69_999]) expect(known.sequence(lookUp(known, 'a', `${n}`))).toBe(n + 1);
  });
});
