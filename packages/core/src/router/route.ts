import { ownerOf } from '../topology/owners.js';
import { type Pool, poolOf } from '../topology/pool.js';
import { slotOf } from '../topology/slot.js';
import type { ShardEntry, Topology } from '../topology/topology.js';

export interface Route {
  readonly pool: Pool;
  readonly slot: number;
  readonly shard: ShardEntry;
}

/**
 * Where a transaction goes: pool by sign and magnitude, slot by hash, owner by topology. A pure function of its
 * arguments. `slot` may be handed in by a caller that remembers it.
 */
export function routeTransaction(
  topology: Topology,
  account: string,
  amount: bigint,
  slot: number = slotOf(account),
): Route {
  const pool = poolOf(amount, BigInt(topology.largeThreshold));
  return { pool, slot, shard: ownerOf(topology, pool, slot) };
}
