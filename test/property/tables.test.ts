/** What random histories never meet: keys that share a hash, thousands of accounts, accounts that nothing is stored for. */
import { BatchBuilder, decide, evolve, hashId, KnownIds, readBatch, SLOT_COUNT } from '@spill/core';
import { expect, it } from 'vitest';
import { AccountTable } from '../../packages/core/dist/shard/account-table.js';
import { EntryTable } from '../../packages/core/dist/shard/entry-table.js';
import { addKnown } from '../support/add-known.js';
import { rawBatch } from '../support/batch-rows.js';
import { creditState } from '../support/credit-state.js';

const KEY = { k0: 1, k1: 2 };
const CLOCK = { now: 2_000_000, maxClockSkewMicros: 1_000_000, ownedSlots: new Uint8Array(SLOT_COUNT).fill(1) };
const TIMESTAMP = 1_000_000;

const hashOf = (text: string): number => {
  const bytes = Buffer.from(text);
  return hashId(KEY, bytes, 0, bytes.length);
};

it('tells keys apart that share a hash: within a batch, from one to the next, and when they are forgotten', () => {
  const [a, b] = ['a104692', 'a104695'];
  const [i, j] = ['i40152', 'i83520'];
  expect([hashOf(a), hashOf(i)]).toEqual([hashOf(b), hashOf(j)]);
  const state = { ...creditState(), idHashKey: KEY, known: new KnownIds(KEY, () => 0) };
  const builder = new BatchBuilder();
  const rows = [
    [a, i],
    [b, i],
    [a, j],
    [b, j],
    [a, i],
    [b, j],
  ] as const;
  rows.forEach(([account, id], n) => {
    builder.add(account, id, n % 2 === 0 ? 1n : 2n, TIMESTAMP, false);
  });
  const batch = readBatch(builder.finish());
  const first = decide(state, { batch, ...CLOCK, sequence: 1 });
  expect([...first.statuses]).toEqual([0, 0, 0, 0, 1, 1]);
  evolve(state, first.event!, 1);
  expect([...decide(state, { batch, ...CLOCK, sequence: 2 }).statuses]).toEqual([1, 1, 1, 1, 1, 1]);
  expect([state.count, state.sum, state.known.accountCount]).toEqual([4, 6n, 2]);
  state.known.forget(TIMESTAMP + 1, 1, 2);
  for (const [swept, left] of [
    [2, 2],
    [1, 1],
    [1, 0],
  ] as const) {
    state.known.sweep(swept);
    expect(state.known.accountCount).toBe(left);
  }
});

it('keeps no account for which nothing is stored', () => {
  const state = creditState();
  const row = { account: 'a1', id: 'x', amount: 5n, timestamp: TIMESTAMP, stamped: false };
  const rejected = { ...row, account: 'a2', timestamp: CLOCK.now + 2 * CLOCK.maxClockSkewMicros };
  const accounts = ['unused', 'a1', 'a2', 'a1'];
  const batch = readBatch(
    rawBatch(accounts, [
      { ...row, place: 1 },
      { ...rejected, place: 2 },
    ]),
  );
  evolve(state, decide(state, { batch, ...CLOCK, sequence: 1 }).event!, 1);
  expect(state.known.accountCount).toBe(1);
  expect(['unused', 'a1', 'a2'].map((account) => state.known.accountNumber(account))).toEqual([-1, 0, -1]);
});

it('finds thousands of accounts, their slots and their entries', () => {
  const slotOf = (account: string): number => Number(account.slice(1)) % SLOT_COUNT;
  const known = new KnownIds(KEY, slotOf, 64);
  const rounds = 30;
  for (let round = 1; round <= rounds; round++) {
    const rows = Array.from({ length: 100 }, (_, n) => ({
      account: `a${(round - 1) * 100 + n}`,
      id: 'x',
      amount: 1n,
      timestamp: round,
    }));
    addKnown(known, KEY, rows, round);
  }
  const accounts = Array.from({ length: 100 * rounds }, (_, n) => `a${n}`);
  expect(accounts.map((account) => known.slot(account))).toEqual(accounts.map(slotOf));
  expect(accounts.filter((account) => [...known.entriesOfAccount(account, 0)].length !== 1)).toEqual([]);
  known.forget(rounds + 1, rounds, 0);
  known.sweep(Number.MAX_SAFE_INTEGER);
  expect([known.size, known.accountCount]).toEqual([0, 0]);
});

it('accounts that come and go leave nothing behind', () => {
  const accounts = new AccountTable(() => 0);
  for (let n = 0; n < 100_000; n++) {
    const number = accounts.intern(`a${n}`, Math.imul(n, 0x9e37_79b1) >>> 0, 0);
    accounts.push(number, n);
    accounts.release(number);
  }
  expect([accounts.size, accounts.table.places]).toEqual([0, new EntryTable().places]);
});

it('a table through which very many pass stays as small as what is in it', () => {
  const table = new EntryTable();
  const hash = (n: number): number => Math.imul(n, 0x9e37_79b1) >>> 0;
  const kept = 1_000;
  for (let n = 0; n < 500_000; n++) {
    table.insert(hash(n), n);
    if (n >= kept) table.remove(hash(n - kept), n - kept);
  }
  expect(table.places).toBeLessThan(16 * kept);
  expect(() => table.remove(hash(1), 1)).toThrow(RangeError);
});
