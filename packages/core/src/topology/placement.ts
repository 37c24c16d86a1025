/**
 * Which node runs which shard. Pure and deterministic: the same topology and the same view of what lives give the same
 * answer, so two supervisors that both believe to be the active one agree.
 *
 * ```
 *  pinned by label? ──▶ only nodes that carry the labels (any node, where none of those lives)
 *        │
 *        ▼
 *  alive and not draining ──▶ fewest shards ──▶ first by name
 * ```
 */
import { TopologyConflictError } from './changes.js';
import { needsProcess } from './owners.js';
import type { Pool } from './pool.js';
import type { NodeEntry, ShardEntry, Topology } from './topology.js';

/** What a node must carry to run a pool's shards; a pool that is not named may be anywhere. */
export type PoolLabels = Readonly<Partial<Record<Pool, Readonly<Record<string, string>>>>>;

export interface Placement {
  /** Nodes that were heard of lately. */
  readonly alive: ReadonlySet<string>;
  readonly poolLabels: PoolLabels;
}

/** How one round of placement changes the topology. */
export interface ShardMove {
  readonly shard: number;
  readonly from: string;
  readonly to: string;
  /** A sentence part for a person. */
  readonly reason: string;
}

/** The node for a shard of this pool; null: none is alive that does not drain. */
export function nodeFor(topology: Topology, pool: Pool, placement: Placement): string | null {
  const candidates = candidatesFor(topology, pool, placement);
  return leastLoaded(topology, candidates)?.name ?? null;
}

/**
 * The next shard that should be run elsewhere, or null: first those of dead and draining nodes, whose logs can be
 * reached; then those on a node that lacks their pool's labels; then, from the fullest to the emptiest node, one whose
 * move makes the two more even. One at a time, so that a round's view is never older than its last move.
 *
 * `reachable`: shards whose log can be read now. With one replica a dead node's log may be gone with it: that shard waits.
 */
export function nextMove(
  topology: Topology,
  placement: Placement,
  reachable: ReadonlySet<number>,
  mayEvenOut: boolean,
): ShardMove | null {
  return (
    urgentMove(topology, placement, reachable) ?? (mayEvenOut ? eveningMove(topology, placement, reachable) : null)
  );
}

/** Shards of dead and draining nodes that still need a process, whether their logs can be reached or not. */
export function homeless(topology: Topology, placement: Pick<Placement, 'alive'>): ShardEntry[] {
  return topology.shards.filter((shard) => needsProcess(shard) && !mayStay(topology, shard.node, placement.alive));
}

/**
 * Gives a shard to another node. Its process there raises the assignment, which fences the one here. Refused where the
 * shard is not (any more) where the move says, or where it would go to a node that is not there or drains.
 */
export function reassignShard(topology: Topology, move: Pick<ShardMove, 'shard' | 'from' | 'to'>): Topology {
  const entry = topology.shards.find(({ id }) => id === move.shard);
  if (!entry) throw new TopologyConflictError(`there is no shard ${move.shard}`);
  if (!needsProcess(entry)) throw new TopologyConflictError(`shard ${entry.id} is retired, which is final`);
  if (entry.node !== move.from) {
    throw new TopologyConflictError(`shard ${entry.id} is assigned to node ${entry.node}, not to ${move.from}`);
  }
  const target = topology.nodes.find(({ name }) => name === move.to);
  if (!target) throw new TopologyConflictError(`there is no node ${move.to}`);
  if (target.draining) throw new TopologyConflictError(`node ${move.to} drains: no shard goes there`);
  if (move.from === move.to) throw new TopologyConflictError(`shard ${entry.id} is on node ${move.to} already`);
  return {
    ...topology,
    epoch: topology.epoch + 1,
    shards: topology.shards.map((shard) => (shard.id === entry.id ? { ...shard, node: move.to } : shard)),
  };
}

/** Marks a node as draining: its shards go to others, and none comes. null: it drains already. */
export function drainNode(topology: Topology, node: string): Topology | null {
  if (requireNode(topology, node).draining) return null;
  if (!topology.nodes.some((other) => other.name !== node && !other.draining)) {
    throw new TopologyConflictError(
      `node ${node} is the last one that does not drain: its shards can go nowhere; start another node first`,
    );
  }
  const nodes = topology.nodes.map((other) => (other.name === node ? { ...other, draining: true } : other));
  return { ...topology, epoch: topology.epoch + 1, nodes };
}

/**
 * Takes a node that is gone for good out of the list. Refused while shards are assigned to it. One that runs all the
 * same ends, and registers again at its next start.
 */
export function removeNode(topology: Topology, node: string): Topology {
  requireNode(topology, node);
  const here = topology.shards.filter((shard) => shard.node === node && needsProcess(shard)).map(({ id }) => id);
  if (here.length > 0) {
    const which = here.length === 1 ? `shard ${here[0]} is` : `shards ${here.join(', ')} are`;
    throw new TopologyConflictError(
      `node ${node} can't be removed: ${which} assigned to it; drain it first: spill-node drain --node ${node}`,
    );
  }
  return { ...topology, epoch: topology.epoch + 1, nodes: topology.nodes.filter(({ name }) => name !== node) };
}

function requireNode(topology: Topology, node: string): NodeEntry {
  const entry = topology.nodes.find(({ name }) => name === node);
  if (entry) return entry;
  const names = topology.nodes.map(({ name }) => name).join(', ');
  throw new TopologyConflictError(`there is no node ${node}: the nodes are ${names}`);
}

function urgentMove(topology: Topology, placement: Placement, reachable: ReadonlySet<number>): ShardMove | null {
  for (const shard of homeless(topology, placement)) {
    const to = nodeFor(topology, shard.pool, placement);
    if (!to || !reachable.has(shard.id)) continue;
    const why = placement.alive.has(shard.node) ? 'drains' : 'is silent';
    return { shard: shard.id, from: shard.node, to, reason: `node ${shard.node} ${why}` };
  }
  return null;
}

function eveningMove(topology: Topology, placement: Placement, reachable: ReadonlySet<number>): ShardMove | null {
  const movable = topology.shards.filter(
    (shard) =>
      (shard.state === 'open' || shard.state === 'closing') && reachable.has(shard.id) && !inMigration(topology, shard),
  );
  for (const shard of movable) {
    const candidates = candidatesFor(topology, shard.pool, placement);
    if (candidates.some(({ name }) => name === shard.node)) continue;
    const to = leastLoaded(topology, candidates);
    if (to) return { shard: shard.id, from: shard.node, to: to.name, reason: `${shard.pool} is pinned to other nodes` };
  }
  // The highest number first: the youngest shard has the least to read back.
  const byLoad = [...movable].sort((a, b) => countOf(topology, b.node) - countOf(topology, a.node) || b.id - a.id);
  for (const shard of byLoad) {
    const to = leastLoaded(topology, candidatesFor(topology, shard.pool, placement));
    if (!to || countOf(topology, shard.node) - countOf(topology, to.name) < 2) continue;
    const counts = `${countOf(topology, shard.node)} shards against ${countOf(topology, to.name)}`;
    return { shard: shard.id, from: shard.node, to: to.name, reason: `to even out: ${counts}` };
  }
  return null;
}

function candidatesFor(topology: Topology, pool: Pool, { alive, poolLabels }: Placement): NodeEntry[] {
  const able = topology.nodes.filter((node) => mayStay(topology, node.name, alive));
  const asked = Object.entries(poolLabels[pool] ?? {});
  const pinned = able.filter(({ labels }) => asked.every(([name, value]) => labels[name] === value));
  // Somewhere is better than nowhere: a pool that nobody runs takes nothing. It goes home once such a node lives.
  return pinned.length > 0 ? pinned : able;
}

function leastLoaded(topology: Topology, nodes: readonly NodeEntry[]): NodeEntry | undefined {
  return [...nodes].sort(
    (a, b) => countOf(topology, a.name) - countOf(topology, b.name) || (a.name < b.name ? -1 : 1),
  )[0];
}

function mayStay(topology: Topology, node: string, alive: ReadonlySet<string>): boolean {
  const entry = topology.nodes.find(({ name }) => name === node);
  return entry !== undefined && !entry.draining && alive.has(node);
}

function countOf(topology: Topology, node: string): number {
  return topology.shards.filter((shard) => shard.node === node && needsProcess(shard)).length;
}

function inMigration(topology: Topology, { id }: ShardEntry): boolean {
  return topology.migrations.some(({ source, target }) => source === id || target === id);
}
