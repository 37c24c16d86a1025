/**
 * The changes of the topology document that move slots. A migration is added as `copying` and ends as `committed` or
 * `aborted`, each by one compare-and-set; its absence says nothing. See `changes.ts` for how they are applied.
 */
import { TopologyConflictError } from './changes.js';
import { shardOf } from './owners.js';
import type { Pool } from './pool.js';
import type { Draining, Migration, MigrationState, ShardEntry, SlotRange, SlotSpan, Topology } from './topology.js';

export interface MigrationRequest {
  readonly pool: Pool;
  readonly slots: readonly SlotSpan[];
  readonly source: number;
  readonly target: number;
}

/** Adds a migration as `copying`. One slot is in one migration at most, and nothing moves to a shard that closes. */
export function beginMigration(topology: Topology, request: MigrationRequest): Topology {
  const { pool, slots, source, target } = request;
  const from = shardOf(topology, source);
  const to = shardOf(topology, target);
  if (!from || !to) throw new TopologyConflictError(`there is no shard ${from ? target : source}`);
  if (source === target) throw new TopologyConflictError(`slots of shard ${source} cannot move to itself`);
  if (from.pool !== pool || to.pool !== pool) {
    throw new TopologyConflictError(`shards ${source} and ${target} are not both of pool ${pool}`);
  }
  if (to.state !== 'open') throw new TopologyConflictError(`shard ${target} is ${to.state}: nothing moves to it`);
  if (slots.length === 0) throw new TopologyConflictError('a migration moves at least one slot');
  for (const slot of slotsOf(slots)) {
    if (ownerOfSlot(topology.owners[pool], slot) !== source) {
      throw new TopologyConflictError(`slot ${slot} of ${pool} is not shard ${source}'s`);
    }
    // Also one that has ended: until both logs hold its outcome, a target may still drop what it adopted under it.
    const other = topology.migrations.find((migration) => migration.pool === pool && contains(migration.slots, slot));
    if (other) throw new TopologyConflictError(`slot ${slot} of ${pool} is in migration ${other.id} already`);
  }
  const migration: Migration = { id: topology.nextMigration, pool, slots, source, target, state: 'copying' };
  return next(topology, {
    nextMigration: topology.nextMigration + 1,
    migrations: [...topology.migrations, migration],
  });
}

/**
 * Ownership moves, and the source drains what it holds for the slots: the moment of truth. Refused where the migration
 * is not `copying` any more, or its target began to close.
 */
export function commitMigration(topology: Topology, id: number, sealedSequence: number): Topology {
  const migration = requireCopying(topology, id);
  const { pool, slots, source, target } = migration;
  if (shardOf(topology, target)?.state !== 'open') {
    throw new TopologyConflictError(`migration ${id} cannot end in shard ${target}, which is not open any more`);
  }
  const draining: Draining = { shard: source, pool, slots, sealedSequence };
  return next(withState(topology, id, 'committed'), {
    owners: { ...topology.owners, [pool]: moveSlots(topology.owners[pool], slots, target) },
    draining: [...topology.draining, draining],
  });
}

/** The source keeps its slots; both sides log that. Refused where the migration is not `copying` any more. */
export function abortMigration(topology: Topology, id: number): Topology {
  requireCopying(topology, id);
  return next(withState(topology, id, 'aborted'), {});
}

/** Both logs hold the outcome. Refused while the migration is `copying`; done already is done. */
export function removeMigration(topology: Topology, id: number): Topology | null {
  const migration = topology.migrations.find((entry) => entry.id === id);
  if (!migration) return null;
  if (migration.state === 'copying') throw new TopologyConflictError(`migration ${id} is under way`);
  return next(topology, { migrations: topology.migrations.filter((entry) => entry.id !== id) });
}

/** What a shard sealed up to `watermark` is folded. Returns null where nothing changes. */
export function removeDrained(topology: Topology, shard: number, watermark: number): Topology | null {
  const isDrained = (entry: Draining): boolean => entry.shard === shard && entry.sealedSequence <= watermark;
  const drained = topology.draining.filter(isDrained);
  if (drained.length === 0) return null;
  return next(topology, {
    draining: topology.draining.filter((entry) => !isDrained(entry)),
    shards: topology.shards.map((entry) => {
      if (entry.id !== shard) return entry;
      return { ...entry, drainedTo: Math.max(entry.drainedTo ?? 0, ...drained.map((one) => one.sealedSequence)) };
    }),
  });
}

/**
 * A shard begins to close: nothing moves to it any more. Migrations towards it are aborted in the same change; its own
 * slots move away by migrations of their own.
 */
export function beginClosing(topology: Topology, shard: number): Topology {
  const entry = shardOf(topology, shard);
  if (!entry) throw new TopologyConflictError(`there is no shard ${shard}`);
  if (entry.state === 'closing') return topology;
  if (entry.state !== 'open' && entry.state !== 'failed') {
    throw new TopologyConflictError(`shard ${shard} is ${entry.state} and cannot be closed`);
  }
  const others = topology.shards.some(
    (other) => other.id !== shard && other.pool === entry.pool && other.state === 'open',
  );
  if (!others)
    throw new TopologyConflictError(
      `shard ${shard} is the last one of pool ${entry.pool}; make another first: spill shard create ${entry.pool}`,
    );
  return next(topology, {
    shards: topology.shards.map((other) => (other.id === shard ? { ...other, state: 'closing' as const } : other)),
    migrations: topology.migrations.map((migration) =>
      migration.target === shard && migration.state === 'copying'
        ? { ...migration, state: 'aborted' as const }
        : migration,
    ),
  });
}

/** A new shard, open and without slots; its log is made already. */
export function addShard(
  topology: Topology,
  shard: {
    readonly id: number;
    readonly pool: Pool;
    readonly node: string;
    readonly logId: string;
    readonly replicas: number;
  },
): Topology {
  if (shard.id !== topology.nextShard) {
    throw new TopologyConflictError(`the next shard is ${topology.nextShard}, not ${shard.id}`);
  }
  if (!topology.nodes.some((node) => node.name === shard.node)) {
    throw new TopologyConflictError(`there is no node ${shard.node}`);
  }
  const entry = { ...shard, assignment: 0, state: 'open' as const };
  return next(topology, { nextShard: shard.id + 1, shards: [...topology.shards, entry] });
}

/** Its log ends with `closed`. */
export function markClosed(topology: Topology, shard: number, closedSequence: number): Topology | null {
  return changeEntry(topology, shard, (entry) =>
    entry.state === 'closing' ? { ...entry, state: 'closed', closedSequence } : null,
  );
}

/** Its log is folded to the end. Final: nothing but its log is left, and no process that could take `refolding` back. */
export function markRetired(topology: Topology, shard: number, retiredAt: string): Topology | null {
  return changeEntry(topology, shard, ({ refolding: _, ...entry }) =>
    entry.state === 'closed' ? { ...entry, state: 'retired', retiredAt } : null,
  );
}

/**
 * The data table was set back to before a retired shard's end: its log is opened and folded again, by a process that it
 * has for so long. null: nothing changes, or its log is gone.
 */
export function markRefolding(topology: Topology, shard: number, refolding: boolean): Topology | null {
  return changeEntry(topology, shard, ({ refolding: before = false, ...entry }) => {
    if (entry.state !== 'retired' || entry.logDeleted || before === refolding) return null;
    return refolding ? { ...entry, refolding } : entry;
  });
}

/**
 * The data table was set back to before a retired shard's end, and its log can't give back what is missing: an operator
 * decides. null: nothing changes.
 */
export function markRetiredDamaged(topology: Topology, shard: number, reason: string): Topology | null {
  return changeEntry(topology, shard, ({ refolding: _, ...entry }) =>
    entry.state === 'retired' ? { ...entry, state: 'damaged', reason } : null,
  );
}

/** Its stream is gone. */
export function markLogDeleted(topology: Topology, shard: number): Topology | null {
  return changeEntry(topology, shard, (entry) =>
    entry.state === 'retired' && !entry.logDeleted ? { ...entry, logDeleted: true } : null,
  );
}

/** Whether a shard owns slots or is a part of a migration: then its log must stay open. */
export function mayAccept(topology: Topology, shard: number): boolean {
  return (
    Object.values(topology.owners).some((ranges) => ranges.some((range) => range.shard === shard)) ||
    topology.migrations.some((migration) => migration.source === shard || migration.target === shard)
  );
}

/** The slots that a shard owns, as spans. */
export function ownedSpans(topology: Topology, pool: Pool, shard: number): SlotSpan[] {
  return topology.owners[pool].filter((range) => range.shard === shard).map(({ from, to }) => ({ from, to }));
}

/** Ranges with `slots` given to `shard`; neighbours of one owner become one range. */
export function moveSlots(ranges: readonly SlotRange[], slots: readonly SlotSpan[], shard: number): SlotRange[] {
  const last = ranges.at(-1)?.to ?? 0;
  const owners = new Int32Array(last);
  for (const range of ranges) owners.fill(range.shard, range.from, range.to);
  for (const span of slots) owners.fill(shard, span.from, span.to);
  const moved: SlotRange[] = [];
  for (let slot = 0; slot < last; slot++) {
    const owner = owners[slot] as number;
    const before = moved.at(-1);
    if (before?.shard === owner) moved[moved.length - 1] = { ...before, to: slot + 1 };
    else moved.push({ from: slot, to: slot + 1, shard: owner });
  }
  return moved;
}

export function* slotsOf(spans: readonly SlotSpan[]): Generator<number> {
  for (const span of spans) for (let slot = span.from; slot < span.to; slot++) yield slot;
}

function changeEntry(
  topology: Topology,
  shard: number,
  change: (entry: ShardEntry) => ShardEntry | null,
): Topology | null {
  const entry = shardOf(topology, shard);
  const changed = entry && change(entry);
  if (!changed) return null;
  return next(topology, { shards: topology.shards.map((other) => (other.id === shard ? changed : other)) });
}

function requireCopying(topology: Topology, id: number): Migration {
  const migration = topology.migrations.find((entry) => entry.id === id);
  if (migration?.state === 'copying') return migration;
  throw new TopologyConflictError(`migration ${id} is ${migration?.state ?? 'not there'}, not copying`);
}

function withState(topology: Topology, id: number, state: MigrationState): Topology {
  const migrations = topology.migrations.map((entry) => (entry.id === id ? { ...entry, state } : entry));
  return { ...topology, migrations };
}

function next(topology: Topology, change: Partial<Topology>): Topology {
  return { ...topology, ...change, epoch: topology.epoch + 1 };
}

function ownerOfSlot(ranges: readonly SlotRange[], slot: number): number | undefined {
  return ranges.find((range) => slot >= range.from && slot < range.to)?.shard;
}

function contains(spans: readonly SlotSpan[], slot: number): boolean {
  return spans.some((span) => slot >= span.from && slot < span.to);
}
