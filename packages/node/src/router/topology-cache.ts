import type { Topology } from '@spill/core';
import type { StoredTopology, TopologyStore } from '../nats/topology-store.js';

/** What the cache needs of a `TopologyStore`. */
export type TopologySource = Pick<TopologyStore, 'require' | 'watch'>;

/** A read that takes longer has failed: whoever waits for it has a deadline of some seconds, and tries again. */
const READ_MS_MAX = 1_000;

/**
 * The newest topology that this process has seen: fed by a watch, which is only a hint, and read again whenever an
 * answer says that it is old. An older document than the one in hand is never taken.
 */
export class TopologyCache {
  private readonly listeners = new Set<(topology: Topology) => void>();
  private reading: Promise<Topology> | null = null;
  private following: Promise<Topology> | null = null;
  private stopWatching: () => void = () => {};

  private constructor(
    private readonly source: TopologySource,
    private newest: Topology,
  ) {}

  /** Reads the first topology and begins to watch. `onError`: a watch or a read of it failed; what is in hand stays. */
  static async open(source: TopologySource, onError: (error: Error) => void): Promise<TopologyCache> {
    const cache = new TopologyCache(source, (await source.require()).topology);
    cache.stopWatching = await source.watch((stored) => cache.take(stored), onError);
    return cache;
  }

  get current(): Topology {
    return this.newest;
  }

  /**
   * A read that begins after this call, through the leader: what it returns is no older than the moment of the call.
   * At most one read is under way and one waiting behind it, which all that come meanwhile share.
   */
  refresh(): Promise<Topology> {
    if (!this.reading) {
      this.reading = this.read().finally(() => {
        this.reading = null;
      });
      return this.reading;
    }
    this.following ??= this.reading
      .catch(() => {}) // Whoever waits for that read is told of its failure; this one is another read.
      .then(() => {
        this.following = null;
        return this.refresh();
      });
    return this.following;
  }

  /** Calls `listener` after each newer topology. Returns the function that ends it. */
  onChange(listener: (topology: Topology) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  close(): void {
    this.stopWatching();
    this.listeners.clear();
  }

  private async read(): Promise<Topology> {
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`the topology was not read within ${READ_MS_MAX} ms`)), READ_MS_MAX);
    });
    try {
      this.take(await Promise.race([this.source.require(), late]));
      return this.newest;
    } finally {
      clearTimeout(timer);
    }
  }

  private take(stored: StoredTopology): void {
    if (stored.topology.epoch <= this.newest.epoch) return;
    this.newest = stored.topology;
    for (const listener of this.listeners) listener(this.newest);
  }
}
