import type { Settings } from '../config/settings.js';
import { readServerSettings } from '../nats/server-settings.js';
import {
  MINIMUM_SERVER_VERSION,
  RECOMMENDED_SERVER_VERSION,
  checkServerVersion as verdictOf,
} from '../nats/server-version.js';
import type { NodeLog } from './node-log.js';
import { StartError } from './start-error.js';
import { withoutLogin } from './without-login.js';

/** @throws StartError for a server whose acknowledgement would not mean durable; warns of one that is only old. */
export function checkServerVersion(url: string, version: string, log: NodeLog): void {
  const verdict = verdictOf(version);
  if (verdict === 'refuse') {
    throw new StartError(
      `nats is ${JSON.stringify(withoutLogin(url))}: its version ${version} is older than ${MINIMUM_SERVER_VERSION}, before which an ` +
        `acknowledged record may be lost; update it to ${RECOMMENDED_SERVER_VERSION} or newer`,
    );
  }
  if (verdict === 'warn') {
    log.warn(`nats-server ${version} lacks durability fixes: update it to ${RECOMMENDED_SERVER_VERSION} or newer`);
  }
}

/**
 * Whether the external servers fsync before they acknowledge, as their monitor URLs show, one for each.
 *
 * @returns false where that is not shown, but `accept_unverified_sync` is given.
 * @throws StartError where it is neither shown nor accepted.
 */
export async function verifySync(settings: Settings): Promise<boolean> {
  const why = await whyUnverified(settings);
  if (why === null) return true;
  if (settings.acceptUnverifiedSync) return false;
  throw new StartError(
    `nats is ${JSON.stringify(withoutLogin(settings.nats ?? ''))}: ${why}. Set "sync_interval: always" in its jetstream block and name its ` +
      'monitor with --nats-monitor http://host:8222, or accept the risk with --accept-unverified-sync',
  );
}

/** null: all of them do. */
async function whyUnverified({ nats, natsMonitor }: Settings): Promise<string | null> {
  if (natsMonitor === null) return 'nothing shows that it syncs before it acknowledges';
  const monitors = natsMonitor.split(',');
  const servers = (nats ?? '').split(',').length;
  if (monitors.length < servers) {
    return `these are ${servers} servers, and nats_monitor names the monitors of ${monitors.length}: each has to show that it syncs`;
  }
  for (const monitor of monitors) {
    try {
      const { syncAlways, jetstream, syncIntervalNs } = await readServerSettings(monitor);
      if (syncAlways) continue;
      if (!jetstream) return `its monitor ${monitor} shows that JetStream is off`;
      return `its monitor ${monitor} shows sync_interval ${syncIntervalNs / 1e9} s: an acknowledged transaction may be lost`;
    } catch (error) {
      return (error as Error).message;
    }
  }
  return null;
}
