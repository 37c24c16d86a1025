import type { Names, Topology } from '@spill/core';
import type { NatsConnection } from '../nats/connect.js';
import { oncePlaced } from '../nats/once-placed.js';
import type { TopologyStore } from '../nats/topology-store.js';

export interface FollowTopology {
  readonly nc: NatsConnection;
  readonly names: Names;
  readonly node: string;
  readonly store: Pick<TopologyStore, 'require' | 'watch'>;
  /** What is known already: a lagging copy, on a server that was away, may still show an older one. */
  readonly known: Topology;
  /** Each newer document, once, in order. */
  onChange(topology: Topology): void;
  onError(error: Error): void;
}

export interface FollowedTopology {
  /** Reads it, through the leader, and passes on what is new. */
  read(): Promise<Topology>;
  end(): void;
}

/**
 * Keeps a node at the newest topology. A watch may be seconds late or silent where a server is lost, since its consumer
 * may have been there; so whatever this node reads anyway counts too, and whoever gives it a shard tells it to look.
 */
export async function followTopology(follow: FollowTopology): Promise<FollowedTopology> {
  const { nc, names, node, store, known, onChange, onError } = follow;
  let newest = known.epoch;
  const take = (topology: Topology): Topology => {
    if (topology.epoch > newest) {
      newest = topology.epoch;
      onChange(topology);
    }
    return topology;
  };
  const read = async (): Promise<Topology> => take((await store.require()).topology);
  const told = nc.subscribe(names.node(node, 'look'), { callback: () => void read().catch(onError) });
  const unwatch = await oncePlaced(() => store.watch(({ topology }) => take(topology), onError));
  return {
    read,
    end: () => {
      told.unsubscribe();
      unwatch();
    },
  };
}

/** Only a hint, and lost where nobody listens: the node reads the topology each second all the same. */
export function tellToLook(nc: NatsConnection, names: Names, node: string): void {
  nc.publish(names.node(node, 'look'));
}
