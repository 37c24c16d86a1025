import type { Adoption } from '@spill/core';

/** Everything that is still known of what was taken over, in the order of adoption. */
export function adoptedRows(adoption: Adoption) {
  const { ids } = adoption;
  return [...ids.entries()].map((entry) => ({
    account: ids.account(entry),
    id: ids.id(entry),
    amount: ids.amount(entry),
    timestamp: ids.timestamp(entry),
    shard: adoption.firstShard(entry),
    sequence: adoption.firstSequence(entry),
  }));
}
