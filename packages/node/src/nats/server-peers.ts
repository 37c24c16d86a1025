import { connect } from 'node:net';
import { createInterface } from 'node:readline';
import * as v from 'valibot';

const ROUTEZ = v.object({ server_id: v.string(), routes: v.array(v.object({ remote_id: v.string() })) });
const ROUTE_INFO = v.object({
  server_id: v.string(),
  server_name: v.string(),
  cluster: v.optional(v.string()),
  connect_urls: v.optional(v.array(v.string())),
});
const ANSWER_MS = 3_000;

export interface ServerPeers {
  readonly serverId: string;
  /** Servers of its cluster that it sees at this moment, itself among them. */
  readonly servers: number;
}

/** What a server sees of its cluster, as its monitor tells. */
export async function readPeers(monitorUrl: string): Promise<ServerPeers> {
  const response = await fetch(new URL('/routez', monitorUrl), { signal: AbortSignal.timeout(ANSWER_MS) });
  const { server_id: serverId, routes } = v.parse(ROUTEZ, await response.json());
  // A pair of servers has several connections.
  return { serverId, servers: 1 + new Set(routes.map((route) => route.remote_id)).size };
}

/** What a server says of itself to others that would be one cluster with it. */
export interface RouteInfo {
  readonly serverId: string;
  readonly serverName: string;
  readonly cluster: string | null;
  /** Where its clients connect. */
  readonly clientUrls: readonly string[];
}

/** Reads the greeting on a cluster port. null: nothing there greets as a server does. Never rejects. */
export function readRouteInfo(host: string, port: number): Promise<RouteInfo | null> {
  return new Promise((resolve) => {
    const socket = connect({ host, port, timeout: ANSWER_MS });
    const end = (info: RouteInfo | null): void => {
      socket.destroy();
      resolve(info);
    };
    socket.on('error', () => end(null));
    socket.on('timeout', () => end(null));
    socket.on('close', () => end(null));
    createInterface({ input: socket })
      .on('error', () => end(null))
      .once('line', (line) => end(parseInfo(line)));
  });
}

function parseInfo(line: string): RouteInfo | null {
  const body = /^INFO (\{.*\})\s*$/.exec(line)?.[1];
  if (!body) return null;
  const parsed = v.safeParse(ROUTE_INFO, JSON.parse(body));
  if (!parsed.success) return null;
  const { server_id, server_name, cluster, connect_urls } = parsed.output;
  return {
    serverId: server_id,
    serverName: server_name,
    cluster: cluster ?? null,
    clientUrls: (connect_urls ?? []).map((address) => `nats://${address}`),
  };
}
