import { idHashKey, initialShardState, type ShardState, slotOf } from '@spill/core';

/** Shard 1 of the pool credit as it begins, with slots as accounts really have them. */
export function creditState(largeThreshold = 1_000n): ShardState {
  return initialShardState({
    shard: 1,
    pool: 'credit',
    largeThreshold,
    idHashKey: idHashKey('0123456789abcdef'),
    slotOf,
  });
}
