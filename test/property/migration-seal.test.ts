import { evolve } from '@spill/core';
import { expect, test } from 'vitest';
import { MigrationSource } from '../../packages/node/dist/shard/migration-source.js';
import { batchOf } from '../support/batch-rows.js';
import { creditState } from '../support/credit-state.js';

/** The source was silent for so long that the horizon went on, in the very record that is to hold the seal. */
test('a seal does not vouch for ids of which some are forgotten', () => {
  const state = creditState();
  const batch = batchOf([{ account: 'a', id: 'one', amount: 5n, timestamp: 1_000, stamped: false }]);
  evolve(state, { type: 'stored', batch, accepted: null, count: 1 }, 1);
  const migration = {
    id: 1,
    pool: 'credit',
    slots: [{ from: 0, to: 1024 }],
    source: 1,
    target: 2,
    state: 'copying',
  } as const;
  const source = new MigrationSource(
    state,
    migration,
    () => ({ place: state.known.endPlace, sequence: 1 }),
    () => 1,
  );
  expect(source.certificate()).toMatchObject({ horizon: 0 });
  // More is folded, and nothing of the set forgotten.
  evolve(state, { type: 'forgotten', horizon: 0, foldedUpTo: 1 }, 2);
  expect(source.certificate()).toMatchObject({ horizon: 0 });
  evolve(state, { type: 'forgotten', horizon: 2_000, foldedUpTo: 1 }, 2);
  expect(source.certificate()).toBeNull();
});
