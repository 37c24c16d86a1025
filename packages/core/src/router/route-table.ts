import { POOLS } from '../topology/pool.js';
import { SLOT_COUNT } from '../topology/slot.js';
import type { Topology } from '../topology/topology.js';

/** Stands for "no owner" in a route table; shards are numbered from 1. */
export const NO_SHARD = 0;

/**
 * `routeTransaction` spread out over all slots, for a router that asks some hundred thousand times a second and a
 * topology that changes rarely.
 */
export class RouteTable {
  private readonly credit: Uint32Array;
  private readonly debit: Uint32Array;
  private readonly large: Uint32Array;
  private readonly threshold: bigint;
  private readonly negativeThreshold: bigint;

  constructor(readonly topology: Topology) {
    [this.credit, this.debit, this.large] = POOLS.map((pool) => {
      const owners = new Uint32Array(SLOT_COUNT).fill(NO_SHARD);
      for (const range of topology.owners[pool]) owners.fill(range.shard, range.from, range.to);
      return owners;
    }) as [Uint32Array, Uint32Array, Uint32Array];
    this.threshold = BigInt(topology.largeThreshold);
    this.negativeThreshold = -this.threshold;
  }

  /** The shard that owns a transaction, or `NO_SHARD`. */
  shardFor(slot: number, amount: bigint): number {
    if (amount >= this.threshold || amount <= this.negativeThreshold) return this.large[slot] as number;
    return (amount > 0n ? this.credit : this.debit)[slot] as number;
  }
}
