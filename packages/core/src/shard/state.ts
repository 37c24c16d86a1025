import { spansContain } from '../topology/owners.js';
import type { Pool } from '../topology/pool.js';
import type { Adoption } from './adoption.js';
import type { SmallState } from './events.js';
import type { IdHashKey } from './id-hash.js';
import { KnownIds } from './known-ids.js';
import { NO_HASH } from './record.js';

/**
 * All that a shard's log says, as of its last record: equal to the replay of `evolve` from `replayFrom` on.
 *
 * It is changed in place by `evolve` alone; `decide` only reads it. Nothing in it comes from a clock, the network or
 * the data table except through an event.
 */
export interface ShardState {
  readonly shard: number;
  readonly pool: Pool;
  readonly largeThreshold: bigint;
  readonly idHashKey: IdHashKey;
  readonly slotOf: (account: string) => number;
  logId: string;
  assignment: number;
  /** The last record: its sequence, its dense number, its hash. 0 and zeros before the first. */
  sequence: number;
  number: number;
  hash: string;
  count: number;
  sum: bigint;
  /** The first sequence that recovery needs. */
  replayFrom: number;
  /** The last record that holds the small state whole. */
  checkpointAt: number;
  small: SmallState;
  readonly known: KnownIds;
  /** What was taken over from other shards and is still known, a migration each. */
  readonly adoptions: Map<number, Adoption>;
}

export interface ShardIdentity {
  readonly shard: number;
  readonly pool: Pool;
  readonly largeThreshold: bigint;
  readonly idHashKey: IdHashKey;
  readonly slotOf: (account: string) => number;
  /** Entries a segment of the known ids; only tests have a reason to give it. */
  readonly segmentEntries?: number;
}

export const NO_SMALL_STATE: SmallState = {
  horizon: 0,
  forgottenBelow: 0,
  foldedUpTo: 0,
  epoch: 0,
  seals: [],
  adoptions: [],
  settled: [],
  closed: false,
};

/** Before any record: replay begins here. */
export function initialShardState(identity: ShardIdentity): ShardState {
  return {
    shard: identity.shard,
    pool: identity.pool,
    largeThreshold: identity.largeThreshold,
    idHashKey: identity.idHashKey,
    slotOf: identity.slotOf,
    logId: '',
    assignment: 0,
    sequence: 0,
    number: 0,
    hash: NO_HASH,
    count: 0,
    sum: 0n,
    replayFrom: 1,
    checkpointAt: 0,
    small: NO_SMALL_STATE,
    known: new KnownIds(identity.idHashKey, identity.slotOf, identity.segmentEntries),
    adoptions: new Map(),
  };
}

export function isSealed(state: ShardState, slot: number): boolean {
  return state.small.seals.length > 0 && state.small.seals.some((seal) => spansContain(seal.slots, slot));
}
