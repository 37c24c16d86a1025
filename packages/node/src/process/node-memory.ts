import { readFileSync } from 'node:fs';
import { statfs } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import * as v from 'valibot';
import type { Settings } from '../config/settings.js';
import { StartError } from './start-error.js';
import { writeDurably } from './write-durably.js';

const MEMORY = v.object({
  format: v.literal(1),
  nodeName: v.string(),
  logRetentionBytes: v.number(),
  cluster: v.nullable(v.string()),
  serverCluster: v.optional(v.nullable(v.string())),
});

/** What a data folder remembers from one start to the next, in `node.json`. */
export interface NodeMemory {
  readonly format: 1;
  /** The host's name may change; the topology goes by this one. */
  readonly nodeName: string;
  /** A tenth of the disk that was free at the first start. */
  readonly logRetentionBytes: number;
  /**
   * Fingerprint of the cluster that this node has been part of; null before its first topology. A server without that
   * topology has lost it, and a new one must not be made over it.
   */
  readonly cluster: string | null;
  /**
   * Name of the cluster that the embedded server is part of; null: it stands alone; absent: none was started yet. A
   * server whose files were written alone would drop its streams in a cluster that does not know them.
   */
  readonly serverCluster?: string | null | undefined;
}

const FREE_PART = 10;
const RETENTION_BYTES_MIN = 64 * 2 ** 20;

/**
 * Reads it, or makes it up at the first start.
 *
 * @throws StartError where `node_name` is another than the one remembered.
 */
export async function recallNode(settings: Settings): Promise<NodeMemory> {
  const path = join(settings.dataDir, 'node.json');
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    return firstMemory(settings);
  }
  const parsed = v.safeParse(MEMORY, JSON.parse(text));
  if (!parsed.success) {
    throw new StartError(`${path} is not as spill wrote it (${parsed.issues[0].message}): restore it from a backup`);
  }
  const memory = parsed.output;
  if (settings.nodeName !== null && settings.nodeName !== memory.nodeName) {
    throw new StartError(
      `node_name is ${JSON.stringify(settings.nodeName)}: the data folder ${settings.dataDir} belongs to node ` +
        `${JSON.stringify(memory.nodeName)}; leave the name out, or choose another --data-dir`,
    );
  }
  refuseOtherCluster(settings, memory);
  return memory;
}

function refuseOtherCluster(settings: Settings, { serverCluster }: NodeMemory): void {
  if (settings.nats !== null || serverCluster === undefined) return;
  const wanted = settings.cluster?.name ?? null;
  if (wanted === serverCluster) return;
  const was = serverCluster === null ? 'has stood alone' : `is part of the cluster ${JSON.stringify(serverCluster)}`;
  throw new StartError(
    `cluster is ${wanted === null ? 'not set' : JSON.stringify(wanted)}: the embedded server of ${settings.dataDir} ${was}, and ` +
      `would lose its logs; ${serverCluster === null ? 'leave --cluster out' : `give --cluster ${serverCluster}`}, or choose another --data-dir`,
  );
}

export function rememberNode(dataDir: string, memory: NodeMemory): void {
  writeDurably(join(dataDir, 'node.json'), `${JSON.stringify(memory, undefined, 2)}\n`);
}

async function firstMemory(settings: Settings): Promise<NodeMemory> {
  const disk = await statfs(settings.dataDir);
  const free = disk.bavail * disk.bsize;
  const host = hostname()
    .replace(/[^a-zA-Z0-9_-]/g, '-')
    .replace(/^[-_]+/, '')
    .slice(0, 63);
  return {
    format: 1,
    nodeName: settings.nodeName ?? (host || 'node'),
    logRetentionBytes: Math.max(RETENTION_BYTES_MIN, Math.floor(free / FREE_PART)),
    cluster: null,
  };
}
