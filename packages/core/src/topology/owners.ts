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

/**
 * Whether some node is to run a process of the shard. A damaged one too: its process says what is missing, and answers
 * for it. A retired one only while its log is folded again.
 */
export function needsProcess(shard: ShardEntry): boolean {
  return shard.state !== 'retired' || shard.refolding === true;
}

export function spansContain(spans: readonly SlotSpan[], slot: number): boolean {
  return spans.some((span) => slot >= span.from && slot < span.to);
}

export function spansOverlap(some: readonly SlotSpan[], others: readonly SlotSpan[]): boolean {
  return some.some((one) => others.some((other) => one.from < other.to && other.from < one.to));
}

/** Whether what a shard gave away is folded, by the data table's watermark; else the table was set back to before. */
export function isDrainedIn(
  { logId, drainedTo = 0 }: ShardEntry,
  watermark: { readonly logId: string; readonly sequence: number } | null | undefined,
): boolean {
  return drainedTo === 0 || (watermark?.logId === logId && watermark.sequence >= drainedTo);
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
  const refolding = topology.shards.filter((shard) => shard.refolding);
  for (const pool of ['credit', 'debit', 'large'] as const) {
    const owner = ownerOf(topology, pool, slot);
    holders.set(owner.id, { shard: owner, role: 'owner' });
    for (const draining of topology.draining) {
      if (draining.pool !== pool || holders.has(draining.shard) || !spansContain(draining.slots, slot)) continue;
      const shard = shardOf(topology, draining.shard);
      if (shard) holders.set(shard.id, { shard, role: 'draining' });
    }
    if (!refolding.some((shard) => shard.pool === pool)) continue;
    for (const shard of topology.shards) {
      if (shard.pool !== pool || !needsProcess(shard) || holders.has(shard.id)) continue;
      holders.set(shard.id, { shard, role: 'draining' });
    }
  }
  return [...holders.values()];
}
