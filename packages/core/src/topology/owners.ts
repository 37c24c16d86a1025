import type { Pool } from './pool.js';
import type { ShardEntry, SlotRange, SlotSpan, Topology } from './topology.js';

/** The shard that owns a slot of a pool. Every (pool, slot) has exactly one. */
export function ownerOf(topology: Topology, pool: Pool, slot: number): ShardEntry {
  const ranges = topology.owners[pool];
  let low = 0;
  let high = ranges.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (slot < (ranges[middle] as SlotRange).to) high = middle;
    else low = middle + 1;
  }
  const range = ranges[low];
  const shard = range && slot >= range.from && slot < range.to ? shardOf(topology, range.shard) : undefined;
  if (!shard) throw new Error(`the topology of epoch ${topology.epoch} names no owner for slot ${slot} of ${pool}`);
  return shard;
}

export function shardOf(topology: Topology, shard: number): ShardEntry | undefined {
  return topology.shards.find((entry) => entry.id === shard);
}

/** The slots that a shard owns in its pool: 1,024 bytes, 1 where it does. */
export function ownedSlots(topology: Topology, shard: number): Uint8Array {
  const owned = new Uint8Array(topology.slotCount);
  const entry = shardOf(topology, shard);
  if (entry) {
    for (const range of topology.owners[entry.pool]) if (range.shard === shard) owned.fill(1, range.from, range.to);
  }
  return owned;
}

export function spansContain(spans: readonly SlotSpan[], slot: number): boolean {
  return spans.some((span) => slot >= span.from && slot < span.to);
}

/** A shard that may hold unfolded transactions of an account, and in which role to ask it. */
export interface Holder {
  readonly shard: ShardEntry;
  readonly role: 'owner' | 'draining';
}

/**
 * Every shard that may hold unfolded transactions of a slot: its owners in all pools, those draining for it, and,
 * where one of a pool folds again from an earlier watermark, the whole pool.
 */
export function holdersOf(topology: Topology, slot: number): Holder[] {
  const holders = new Map<number, Holder>();
  for (const pool of ['credit', 'debit', 'large'] as const) {
    const owner = ownerOf(topology, pool, slot);
    holders.set(owner.id, { shard: owner, role: 'owner' });
    for (const draining of topology.draining) {
      if (draining.pool !== pool || holders.has(draining.shard) || !spansContain(draining.slots, slot)) continue;
      const shard = shardOf(topology, draining.shard);
      if (shard) holders.set(shard.id, { shard, role: 'draining' });
    }
    const members = topology.shards.filter((shard) => shard.pool === pool);
    if (!members.some((shard) => shard.refolding)) continue;
    for (const shard of members) if (!holders.has(shard.id)) holders.set(shard.id, { shard, role: 'draining' });
  }
  return [...holders.values()];
}
