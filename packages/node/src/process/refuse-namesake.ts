import type { Names, NodeEntry, Topology } from '@spill/core';
import type { EmbeddedCluster } from '../config/settings.js';
import { connectNats } from '../nats/connect.js';
import { readRouteInfo } from '../nats/server-peers.js';
import { askPresence } from '../supervisor/node-presence.js';
import { StartError } from './start-error.js';

const CONNECT_MS = 2_000;

export interface RefuseNamesake {
  readonly names: Names;
  readonly node: string;
  /** Of this node's own server. */
  readonly serverId: string;
  readonly cluster: EmbeddedCluster;
}

/**
 * Looks at the servers that are to be joined. One that has this node's name would turn its server away, and one of
 * another cluster too, without a word that reaches this side: so they are asked.
 *
 * @throws StartError
 */
export async function refuseNamesake(refuse: RefuseNamesake): Promise<void> {
  await Promise.all(refuse.cluster.join.map((host) => look(refuse, host)));
}

async function look({ names, node, serverId, cluster }: RefuseNamesake, address: string): Promise<void> {
  const [, host, port] = /^(.*?)(?::(\d+))?$/.exec(address) as unknown as [string, string, string | undefined];
  const info = await readRouteInfo(host.replace(/^\[|\]$/g, ''), Number(port ?? cluster.port));
  if (!info || info.serverId === serverId) return;
  if (info.cluster !== cluster.name) {
    throw new StartError(
      `cluster is ${JSON.stringify(cluster.name)}: the server at ${address} is part of ${JSON.stringify(info.cluster)}; ` +
        'give the same name on each machine, or another --join',
    );
  }
  if (info.serverName === node) throw nameTaken(node);
  if (info.clientUrls.length > 0 && (await answers(names, node, info.clientUrls))) throw nameTaken(node);
}

async function answers(names: Names, node: string, servers: readonly string[]): Promise<boolean> {
  const options = { name: 'spill-node join', reconnect: false, timeoutMs: CONNECT_MS };
  // A server that can't be reached by its clients is no reason not to join it.
  const nc = await connectNats({ servers: [...servers], ...options }).catch(() => null);
  if (!nc) return false;
  try {
    return (await askPresence(nc, names, node)) !== null;
  } finally {
    await nc.close();
  }
}

export function nameTaken(name: string): StartError {
  return new StartError(
    `node_name is ${JSON.stringify(name)}: a node of that name runs in this cluster; give this one another with ` +
      '--node-name, and a --data-dir of its own',
  );
}

/** Why a node must end, as a newer topology says; null: it may go on. */
export function whyReplaced(topology: Topology, { name, session }: NodeEntry): string | null {
  const entry = topology.nodes.find((node) => node.name === name);
  if (!entry) return `an operator has removed ${JSON.stringify(name)}, which was silent; its next start takes it back`;
  if (entry.session === session) return null;
  return `another node has registered as ${JSON.stringify(name)}, on ${entry.since}`;
}
