import { Names, SpillError, type Topology } from '@spill/core';
import { noServerError, plainServers } from '../client/no-server-error.js';
import { connectNats } from './connect.js';
import { hasTopology } from './has-topology.js';
import { TopologyStore } from './topology-store.js';

/**
 * The topology as it is stored, over a connection of its own: also where no node answers.
 *
 * @throws SpillError `unavailable` where no server answers, or it has no such cluster.
 */
export async function readTopology(where: {
  readonly servers: string;
  readonly prefix: string;
  readonly timeoutMs: number;
}): Promise<Topology> {
  const { servers, prefix, timeoutMs } = where;
  const names = new Names(prefix);
  const nc = await connectNats({ servers: servers.split(','), name: 'spill', reconnect: false }).catch((error) => {
    throw noServerError(servers, error);
  });
  try {
    if (!(await hasTopology(nc, names, timeoutMs))) {
      throw new SpillError(
        'unavailable',
        `no spill cluster with the prefix ${prefix} (--prefix) is at ${plainServers(servers)}`,
      );
    }
    return (await (await TopologyStore.open(nc, names, { create: false })).require()).topology;
  } finally {
    await nc.close();
  }
}
