import { type CertifiedRow, idHashKey, RowDigest } from '@spill/core';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { runs } from '../support/property-runs.js';

const KEY = idHashKey('0123456789abcdef'.repeat(4));

interface Row {
  readonly account: string;
  readonly id: string;
  readonly amount: bigint;
  readonly timestamp: number;
  readonly shard: number;
  readonly sequence: number;
}

const text = fc.string({ unit: fc.constantFrom('a', 'b', '0', '\u0000', 'é', '€', '😀'), minLength: 1, maxLength: 24 });
const number = fc.oneof(fc.integer({ min: 0, max: 3 }), fc.maxSafeNat());
const rows: fc.Arbitrary<Row> = fc.record({
  account: text,
  id: text,
  amount: fc.oneof(fc.bigInt({ min: -3n, max: 3n }), fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n })),
  timestamp: number,
  shard: fc.integer({ min: 0, max: 2 ** 32 - 1 }),
  sequence: number,
});

/** As it lies within a larger array, as rows of a chunk and known ids do. */
function certified({ id, ...row }: Row, before: number): CertifiedRow {
  const bytes = Buffer.concat([Buffer.alloc(before, 0xff), Buffer.from(id), Buffer.alloc(5, 0xff)]);
  return { ...row, bytes, idFrom: before, idTo: bytes.length - 5 };
}

function digestOf(of: readonly Row[], before = 0): string {
  const digest = new RowDigest(KEY);
  for (const row of of) digest.add(certified(row, before));
  return `${digest.count} ${digest.hex}`;
}

describe('the digest of a set of rows', () => {
  test('does not depend on their order, nor on where their ids lie', () => {
    fc.assert(
      fc.property(
        fc
          .array(rows, { maxLength: 12 })
          .chain((some) => fc.tuple(fc.constant(some), fc.shuffledSubarray(some, { minLength: some.length }))),
        fc.nat({ max: 9 }),
        ([some, shuffled], before) => {
          expect(digestOf(shuffled, before)).toBe(digestOf(some));
        },
      ),
      runs(200),
    );
  });

  test('is another for other rows, whichever field differs and wherever account and id part', () => {
    fc.assert(
      fc.property(fc.array(rows, { maxLength: 5 }), rows, rows, (others, one, another) => {
        for (const field of Object.keys(one) as (keyof Row)[]) {
          if (one[field] === another[field]) continue;
          expect(digestOf([...others, { ...one, [field]: another[field] }])).not.toBe(digestOf([...others, one]));
        }
        const parted = { ...one, account: one.account + one.id.slice(0, 1), id: `${one.id.slice(1)}a` };
        expect(digestOf([...others, parted])).not.toBe(digestOf([...others, { ...one, id: `${one.id}a` }]));
      }),
      runs(300),
    );
  });

  test('is another where only the lengths tell two rows apart', () => {
    const row = { amount: 1n, timestamp: 2, shard: 3, sequence: 4 };
    const alike = [
      { account: 'abcd', id: 'x' },
      { account: 'ab', id: 'c\u0000d\u0000x' },
      { account: 'abcd', id: 'x\u0000' },
      { account: 'a', id: 'x' },
      { account: 'a\u0000', id: 'x' },
    ];
    expect(new Set(alike.map((key) => digestOf([{ ...row, ...key }]))).size).toBe(alike.length);
  });
});
