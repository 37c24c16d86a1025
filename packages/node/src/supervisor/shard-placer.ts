/**
 * The active supervisor's care for where shards run: those of dead and draining nodes go to others at once, the rest is
 * evened out slowly. The choice is `nextMove`'s; this only looks at what lives and what can be reached, writes one
 * compare-and-set a move, and says what it did.
 */
import {
  homeless,
  nextMove,
  type PoolLabels,
  reassignShard,
  type ShardEntry,
  type ShardMove,
  type Topology,
  TopologyConflictError,
} from '@spill/core';
import type { StoredTopology, TopologyStore } from '../nats/topology-store.js';

export interface ShardPlacerOptions {
  readonly topology: TopologyStore;
  readonly poolLabels: PoolLabels;
  /** Of the nodes of this topology. */
  alive(topology: Topology): ReadonlySet<string>;
  /** Whether a shard's log has a leader and can be read. Never rejects. */
  logReachable(shard: number): Promise<boolean>;
  /** Told at once: the next move does not wait for what comes of it. */
  onMove(move: ShardMove): void;
  log(message: string): void;
}

/** Between two moves that only even out, and after the last change of who lives. */
const EVEN_OUT_MS = 10_000;

export class ShardPlacer {
  private calmSince = performance.now();
  private lastAlive = '';
  private waiting = '';

  constructor(private readonly options: ShardPlacerOptions) {}

  async round(topology: Topology): Promise<void> {
    const { poolLabels } = this.options;
    const alive = this.options.alive(topology);
    this.noteAlive(alive);
    const placement = { alive, poolLabels };
    let newest = topology;
    const urgent = homeless(newest, placement);
    if (urgent.length > 0) {
      const reachable = await this.reachable(urgent);
      for (let move = nextMove(newest, placement, reachable, false); move; ) {
        const moved = await this.move(move);
        if (!moved) return;
        newest = moved.topology;
        move = nextMove(newest, placement, reachable, false);
      }
      this.sayWaiting(newest, placement, reachable);
      return;
    }
    this.waiting = '';
    if (performance.now() - this.calmSince < EVEN_OUT_MS) return;
    const all = new Set(newest.shards.map(({ id }) => id));
    const wanted = nextMove(newest, placement, all, true);
    if (!wanted || !(await this.options.logReachable(wanted.shard))) return;
    this.calmSince = performance.now();
    await this.move(wanted);
  }

  /** null: somebody else was quicker; the next round looks again. */
  private async move(move: ShardMove): Promise<StoredTopology | null> {
    try {
      const stored = await this.options.topology.change((newest) => reassignShard(newest, move));
      this.calmSince = performance.now();
      this.options.log(`shard ${move.shard} goes from node ${move.from} to ${move.to}: ${move.reason}`);
      this.options.onMove(move);
      return stored;
    } catch (error) {
      if (error instanceof TopologyConflictError) return null;
      throw error;
    }
  }

  /**
   * A log with several copies elects its leader while its shard's process starts elsewhere, which waits for it there. The
   * only copy may have gone with its node.
   */
  private async reachable(shards: readonly ShardEntry[]): Promise<Set<number>> {
    const answers = await Promise.all(shards.map(({ id, replicas }) => replicas > 1 || this.options.logReachable(id)));
    return new Set(shards.filter((_, i) => answers[i]).map(({ id }) => id));
  }

  private noteAlive(alive: ReadonlySet<string>): void {
    const now = [...alive].sort().join(', ');
    if (now === this.lastAlive) return;
    this.lastAlive = now;
    this.calmSince = performance.now();
  }

  private sayWaiting(
    topology: Topology,
    placement: Parameters<typeof homeless>[1],
    reachable: ReadonlySet<number>,
  ): void {
    const left = homeless(topology, placement);
    const waiting = left
      .map(({ id, node, replicas }) =>
        reachable.has(id)
          ? `shard ${id} of node ${node} waits for another node`
          : `shard ${id} of node ${node} waits: its log (${replicas} ${replicas === 1 ? 'copy' : 'copies'}) cannot be reached`,
      )
      .join('; ');
    if (waiting !== this.waiting && waiting !== '') this.options.log(waiting);
    this.waiting = waiting;
  }
}
