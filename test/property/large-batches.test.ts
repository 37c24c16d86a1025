import { decide, endRecord, evolve, NO_HASH, RowStatus, SLOT_COUNT } from '@spill/core';
import { expect, test } from 'vitest';
import { batchOf } from '../support/batch-rows.js';
import { creditState } from '../support/credit-state.js';

const ownedSlots = new Uint8Array(SLOT_COUNT).fill(1);
const ROUNDS = 4;

/** Rows are looked up 256 ahead of their turn: ids come again within a batch and from one to the next, on every side. */
test.each([
  [1, 1],
  [255, 1],
  [256, 3],
  [257, 1],
  [512, 2],
  [513, 1],
  [1_000, 5],
  [8_192, 40],
])('a batch of %i rows over %i accounts stores each transaction once', (size, accounts) => {
  const state = creditState();
  const stored = new Set<string>();
  for (let round = 0; round < ROUNDS; round++) {
    const rows = Array.from({ length: size }, (_, i) => ({
      account: `a${i % accounts}`,
      id: `i${(i * 7 + Math.floor((round * size) / 2)) % (2 * size)}`,
      amount: 5n,
      timestamp: 1_000_000 + i,
      stamped: false,
    }));
    const sequence = round + 1;
    const clock = { now: 2_000_000, maxClockSkewMicros: 1_000_000 };
    const { statuses, event } = decide(state, { batch: batchOf(rows), ...clock, ownedSlots, sequence });
    const wrong = rows.flatMap(({ account, id }, i) => {
      const key = `${account}/${id}`;
      const expected = stored.has(key) ? RowStatus.duplicate : RowStatus.stored;
      stored.add(key);
      const told = statuses.length === 0 ? RowStatus.stored : statuses[i];
      return told === expected ? [] : [`row ${i} of batch ${round}: ${told} instead of ${expected}`];
    });
    expect(wrong).toEqual([]);
    if (!event) continue;
    evolve(state, event, sequence);
    endRecord(state, { sequence, number: sequence, hash: NO_HASH });
  }
  expect(state.count).toBe(stored.size);
});
