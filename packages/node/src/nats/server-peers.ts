import * as v from 'valibot';

const ROUTEZ = v.object({ routes: v.array(v.object({ remote_id: v.string() })) });
const MONITOR_TIMEOUT_MS = 3_000;

/** How many servers of its cluster a server sees at this moment, itself among them, as its monitor tells. */
export async function countServers(monitorUrl: string): Promise<number> {
  const response = await fetch(new URL('/routez', monitorUrl), { signal: AbortSignal.timeout(MONITOR_TIMEOUT_MS) });
  const { routes } = v.parse(ROUTEZ, await response.json());
  // A pair of servers has several connections.
  return 1 + new Set(routes.map((route) => route.remote_id)).size;
}
