import { existsSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import type { Topology } from '@spill/core';
import { readEmbeddedServerFile } from '../nats/embedded-server-file.js';
import { readServerSettings, type ServerSettings } from '../nats/server-settings.js';
import { checkServerVersion, MINIMUM_SERVER_VERSION, RECOMMENDED_SERVER_VERSION } from '../nats/server-version.js';
import type { DoctorFindings } from './doctor-finding.js';

export interface ServerView {
  readonly monitorUrl: string | null;
  readonly dataDir: string | null;
}

const DISK_WARN = 0.85;
const DISK_ERROR = 0.95;

export function checkVersion(findings: DoctorFindings, version: string): void {
  const update = `update it to ${RECOMMENDED_SERVER_VERSION} or newer`;
  const verdict = checkServerVersion(version);
  if (verdict === 'ok') findings.ok('nats', `nats-server ${version}`);
  else if (verdict === 'warn') findings.warn('nats', `nats-server ${version} lacks durability fixes: ${update}`);
  else {
    const older = `nats-server ${version} is older than ${MINIMUM_SERVER_VERSION}`;
    findings.error('nats', `${older}, before which an acknowledged record may be lost: ${update}`);
  }
}

/**
 * Whether an acknowledgement means an fsync: shown only by a monitor port, that of the embedded server or the one that
 * is named.
 */
export async function checkSync(
  findings: DoctorFindings,
  view: ServerView,
  topology: Topology | null,
): Promise<ServerSettings | null> {
  const unverified = topology?.nodes.filter((node) => node.labels.sync === 'unverified').map((node) => node.name) ?? [];
  if (unverified.length > 0) {
    findings.warn(
      'sync',
      `--accept-unverified-sync is in force on ${unverified.join(', ')}: a transaction acknowledged there may be lost when ` +
        'its nats-server crashes. Set "sync_interval: always" there and name its monitor with --nats-monitor',
    );
  }
  const monitorUrl = view.monitorUrl ?? embeddedMonitor(view.dataDir);
  if (monitorUrl === null) {
    if (unverified.length === 0) {
      findings.warn(
        'sync',
        'it cannot be seen from here whether an acknowledgement means an fsync: name the monitor of nats-server with ' +
          "--nats-monitor http://host:8222, or the node's folder with --data-dir",
      );
    }
    return null;
  }
  const settings: (ServerSettings | null)[] = [];
  for (const url of monitorUrl.split(',')) settings.push(await checkSyncOf(findings, url));
  return settings.find((one) => one !== null) ?? null;
}

async function checkSyncOf(findings: DoctorFindings, monitorUrl: string): Promise<ServerSettings | null> {
  try {
    const settings = await readServerSettings(monitorUrl);
    if (settings.syncAlways)
      findings.ok('sync', `an acknowledgement means an fsync (sync_interval: always, by ${monitorUrl})`);
    else {
      const state = settings.jetstream
        ? `syncs only every ${settings.syncIntervalNs / 1e9} s: an acknowledged transaction may be lost`
        : 'runs without JetStream';
      findings.error(
        'sync',
        `the server at ${monitorUrl} ${state}. Set "sync_interval: always" in its jetstream block`,
      );
    }
    return settings;
  } catch (error) {
    findings.warn('sync', `${(error as Error).message}: whether it syncs before it acknowledges cannot be seen`);
    return null;
  }
}

function embeddedMonitor(dataDir: string | null): string | null {
  const file = dataDir === null ? undefined : readEmbeddedServerFile(dataDir);
  return file && file.monitorPort > 0 ? `http://127.0.0.1:${file.monitorPort}` : null;
}

/** The disk of JetStream's folder, where that is on this machine. */
export async function checkDisk(
  findings: DoctorFindings,
  dataDir: string | null,
  server: ServerSettings | null,
): Promise<void> {
  const folder = [server?.jetstreamStoreDir, dataDir].find(
    (path) => path !== undefined && path !== null && existsSync(path),
  );
  if (!folder) return;
  const { blocks, bavail, bsize } = await statfs(folder);
  if (blocks === 0) return;
  const used = 1 - bavail / blocks;
  const said = `the disk of ${folder} is ${Math.round(used * 100)} % full, ${Math.round((bavail * bsize) / 2 ** 20)} MiB are free`;
  const way = 'free some, or lower log_retention or log_retention_bytes';
  if (used >= DISK_ERROR)
    findings.error('disk', `${said}: the logs' retention yields, and soon nothing is taken: ${way}`);
  else if (used >= DISK_WARN) findings.warn('disk', `${said}: ${way}`);
  else findings.ok('disk', said);
}
