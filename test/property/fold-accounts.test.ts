import { canonicalAccount, compareAccounts, groupByAccount, isCanonicalAccount } from '@spill/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';

const text = fc.string({ unit: 'binary', maxLength: 12 });

describe('order of accounts', () => {
  it('is that of their UTF-8 bytes', () => {
    // Units around the surrogates are where UTF-16 and UTF-8 disagree.
    const edge = fc.constantFrom('\u{10000}', '\u{10ffff}', '\ud7ff', '\ue000', '\uffff', 'a', 'é', '');
    const edgy = fc.array(edge, { maxLength: 4 }).map((parts) => parts.join(''));
    fc.assert(
      fc.property(fc.oneof(text, edgy), fc.oneof(text, edgy), (a, b) => {
        expect(Math.sign(compareAccounts(a, b))).toBe(Buffer.compare(Buffer.from(a), Buffer.from(b)));
      }),
      { numRuns: 2_000 },
    );
  });
});

describe('canonical accounts', () => {
  const types = ['text', 'varchar', 'int4', 'int8', 'uuid'] as const;
  const spelling = fc.oneof(
    text,
    fc.bigInt({ min: -(2n ** 64n), max: 2n ** 64n }).map(String),
    fc.tuple(fc.constantFrom('', '0', '00', '+', '-', ' '), fc.nat(50)).map(([lead, n]) => `${lead}${n}`),
    fc.uuid(),
    fc.uuid().map((uuid) => uuid.toUpperCase()),
    fc.uuid().map((uuid) => `{${uuid.replaceAll('-', '')}}`),
  );

  it('have one text a value: the canonical form is its own canonical form', () => {
    fc.assert(
      fc.property(fc.constantFrom(...types), spelling, (idType, account) => {
        const canonical = canonicalAccount(account, { idType });
        if (canonical === null) return;
        expect(canonicalAccount(canonical, { idType })).toBe(canonical);
        expect(isCanonicalAccount(account, { idType })).toBe(account === canonical);
      }),
      { numRuns: 2_000 },
    );
  });

  it('of two different canonical texts no two are one value', () => {
    const value = (account: string, idType: (typeof types)[number]) =>
      idType === 'int4' || idType === 'int8' ? BigInt(account) : account.toLowerCase().replace(/[{}-]/g, '');
    fc.assert(
      fc.property(fc.constantFrom('int4', 'int8', 'uuid'), spelling, spelling, (idType, a, b) => {
        if (!isCanonicalAccount(a, { idType }) || !isCanonicalAccount(b, { idType })) return;
        expect(value(a, idType) === value(b, idType)).toBe(a === b);
      }),
      { numRuns: 5_000 },
    );
  });

  it('keep the bounds of the integer types', () => {
    for (const [idType, bits] of [
      ['int4', 31n],
      ['int8', 63n],
    ] as const) {
      for (const [value, good] of [
        [2n ** bits - 1n, true],
        [2n ** bits, false],
        [-(2n ** bits), true],
        [-(2n ** bits) - 1n, false],
      ] as const) {
        expect(isCanonicalAccount(value.toString(), { idType })).toBe(good);
      }
    }
    for (const account of ['-0', '+1', '01', ' 1', '1.0', '1e3', '0x10', '']) {
      expect(isCanonicalAccount(account, { idType: 'int8' })).toBe(false);
    }
  });
});

function toEnd<T>(steps: Generator<undefined, T>): T {
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}

describe('grouping by account', () => {
  it('agrees with adding one after the other', () => {
    const row = fc.tuple(
      fc.constantFrom('b', 'a', 'é', '\u{1f600}', '\uffee', 'ab'),
      fc.bigInt({ min: -(2n ** 63n) + 1n, max: 2n ** 63n - 1n }),
    );
    fc.assert(
      fc.property(fc.array(row, { maxLength: 40 }), (rows) => {
        const accounts = rows.map(([account]) => account);
        const amounts = rows.map(([, amount]) => amount);
        const groups = toEnd(groupByAccount({ length: rows.length, accounts, amounts }));
        expect(groups.accounts).toEqual([...new Set(accounts)].sort(compareAccounts));
        expect(accounts.map((_, place) => groups.accounts[groups.places[place]!])).toEqual(accounts);
        groups.accounts.forEach((account, place) => {
          const own = rows.filter(([name]) => name === account);
          expect(groups.counts[place]).toBe(own.length);
          expect(groups.sums[place]).toBe(own.reduce((sum, [, amount]) => sum + amount, 0n));
        });
      }),
    );
  });
});
