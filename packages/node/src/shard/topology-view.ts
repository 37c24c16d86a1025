import { ownedSlots, type ShardEntry, shardOf, type Topology } from '@spill/core';
import type { TopologyStore } from '../nats/topology-store.js';

/**
 * The topology as a shard acts on it: never an older one than before, whatever a watch or a lagging read brings.
 */
export class TopologyView {
  private slots: Uint8Array;
  private reading: Promise<void> | null = null;

  constructor(
    private topology: Topology,
    private readonly store: TopologyStore,
    private readonly shard: number,
    private readonly onChange: (entry: ShardEntry) => void,
  ) {
    this.slots = ownedSlots(topology, shard);
  }

  get epoch(): number {
    return this.topology.epoch;
  }

  get entry(): ShardEntry {
    return shardOf(this.topology, this.shard)!;
  }

  get newest(): Topology {
    return this.topology;
  }

  /** 1 at each slot that is this shard's; none while it is not open. */
  get ownedSlots(): Uint8Array {
    return this.slots;
  }

  take(topology: Topology): void {
    if (topology.epoch <= this.topology.epoch) return;
    this.topology = topology;
    this.slots = ownedSlots(topology, this.shard);
    this.onChange(this.entry);
  }

  /** Resolves with the epoch at hand once it is `epoch` or newer. One read is shared by all who wait. */
  async atEpoch(epoch: number): Promise<number> {
    if (this.topology.epoch < epoch) {
      this.reading ??= this.store
        .require()
        .then(({ topology }) => this.take(topology))
        .finally(() => {
          this.reading = null;
        });
      await this.reading;
    }
    return this.topology.epoch;
  }
}
