import type { ShardState } from '@spill/core';
import { adoptedRows } from './adopted-rows.js';

/**
 * What of a shard's state must be the same after a replay: everything but how memory is laid out (account numbers,
 * places, entries that are forgotten and not swept yet).
 */
export function comparable(state: ShardState): Record<string, unknown> {
  const { known, adoptions, ...plain } = state;
  return {
    ...plain,
    adoptions: [...adoptions.values()]
      .map((adoption) => ({
        migration: adoption.migration,
        slots: adoption.slots,
        settled: adoption.settled,
        rows: adoptedRows(adoption),
      }))
      .sort((a, b) => a.migration - b.migration),
    known: [...known.entries()].map((entry) => ({
      account: known.account(entry),
      id: known.id(entry),
      amount: known.amount(entry),
      timestamp: known.timestamp(entry),
      sequence: known.sequence(entry),
    })),
  };
}
