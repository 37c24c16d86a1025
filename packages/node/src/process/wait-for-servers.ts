import { setTimeout as delay } from 'node:timers/promises';
import type { Names } from '@spill/core';
import type { EmbeddedCluster } from '../config/settings.js';
import type { NatsConnection } from '../nats/connect.js';
import { hasTopology } from '../nats/has-topology.js';
import { isNatsAway } from '../nats/nats-away.js';
import { readPeers } from '../nats/server-peers.js';
import type { NodeLog } from './node-log.js';
import { refuseNamesake } from './refuse-namesake.js';

export interface WaitForServers {
  readonly nc: NatsConnection;
  readonly names: Names;
  /** Of this node's own server. */
  readonly monitorUrl: string;
  readonly cluster: EmbeddedCluster;
  readonly node: string;
  /** Copies of each log that a first start is to make. */
  readonly replicas: number;
  readonly log: NodeLog;
  readonly signal: AbortSignal;
}

/**
 * JetStream's own group elects its first leader when two servers have met; alone, a clustered one answers nothing.
 */
const SERVERS_MIN = 2;
const LOOK_AGAIN_MS = 500;
const ASK_AGAIN_MS = 10_000;
const SAY_AGAIN_MS = 30_000;

/**
 * Waits until this node can go on: a topology is there, or so many servers that a first one can be made with the copies
 * that were asked for. Never makes do with fewer, and says what it waits for.
 *
 * @throws StartError where those that are to be joined will not have it; what `signal` was aborted with.
 */
export async function waitForServers(wait: WaitForServers): Promise<void> {
  const needed = Math.max(SERVERS_MIN, wait.replicas);
  let saidAt = Number.NEGATIVE_INFINITY;
  let said = '';
  let askedAt = Number.NEGATIVE_INFINITY;
  for (;;) {
    wait.signal.throwIfAborted();
    const { serverId, servers } = await readPeers(wait.monitorUrl);
    if (servers === 1 && performance.now() - askedAt >= ASK_AGAIN_MS) {
      await refuseNamesake({ names: wait.names, node: wait.node, serverId, cluster: wait.cluster });
      askedAt = performance.now();
    }
    const exists = await topologyOrNothing(wait);
    if (exists === true) return;
    if (exists === false && servers >= needed) return;
    const what =
      exists === null
        ? `JetStream has no leader yet; ${servers} ${servers === 1 ? 'server is' : 'servers are'} there`
        : `${servers} of the ${needed} servers are there that ${wait.replicas} copies of each log need`;
    if (what !== said || performance.now() - saidAt >= SAY_AGAIN_MS) {
      wait.log.info(`cluster ${wait.cluster.name}: waiting for other nodes (${what})`);
      said = what;
      saidAt = performance.now();
    }
    await delay(LOOK_AGAIN_MS, undefined, { signal: wait.signal }).catch(() => {});
  }
}

/** null: nobody can tell just now. */
async function topologyOrNothing({ nc, names }: WaitForServers): Promise<boolean | null> {
  try {
    return await hasTopology(nc, names, 2_000);
  } catch (error) {
    if (isNatsAway(error)) return null;
    throw error;
  }
}
