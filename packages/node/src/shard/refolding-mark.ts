import { changeShard, shardOf, type Topology } from '@spill/core';
import type { TopologyStore } from '../nats/topology-store.js';

/**
 * Says `refolding` of a shard in the topology, or takes it back: one write after the other, so that the last word is
 * the one that stays, and only as long as this process is the shard's newest.
 */
export class RefoldingMark {
  private wanted = false;
  private writing: Promise<void> | null = null;

  constructor(
    private readonly store: Pick<TopologyStore, 'change'>,
    private readonly shard: number,
    private readonly assignment: number,
    private readonly onTopology: (topology: Topology) => void,
  ) {}

  /** Rejects where the topology can't be written. */
  say(refolding: boolean): Promise<void> {
    this.wanted = refolding;
    this.writing ??= this.write().finally(() => {
      this.writing = null;
    });
    return this.writing;
  }

  private async write(): Promise<void> {
    let said: boolean;
    do {
      said = this.wanted;
      const { topology } = await this.store.change((newest) => this.change(newest, said));
      this.onTopology(topology);
    } while (said !== this.wanted);
  }

  private change(topology: Topology, refolding: boolean): Topology | null {
    const entry = shardOf(topology, this.shard);
    if (!entry || entry.assignment !== this.assignment || entry.state === 'retired') return null;
    return (entry.refolding ?? false) === refolding ? null : changeShard(topology, this.shard, { refolding });
  }
}
