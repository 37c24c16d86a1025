import { createHash, randomBytes } from 'node:crypto';
import { firstTopology, type Names, NO_SMALL_STATE, type NodeEntry, registerNode, type Topology } from '@spill/core';
import { ErrorCode, NatsError } from 'nats';
import { FIXED_MAPPING_SETTINGS, fixedMapping } from '../config/fixed-mapping.js';
import type { Settings } from '../config/settings.js';
import type { connectNats } from '../nats/connect.js';
import { hasTopology } from '../nats/has-topology.js';
import { createLog } from '../nats/log.js';
import { oncePlaced } from '../nats/once-placed.js';
import { type StoredTopology, TopologyRaceError, TopologyStore } from '../nats/topology-store.js';
import type { NodeLog } from './node-log.js';
import { type NodeMemory, rememberNode } from './node-memory.js';
import { StartError } from './start-error.js';
import { withoutLogin } from './without-login.js';

export const SHARD_COUNT_DEFAULT = 3;
export const LARGE_THRESHOLD_DEFAULT = 1_000_000n;

/** On a busy machine servers that have just met take long to elect a leader. */
const ANSWER_MS = 30_000;

export interface EnsureTopology {
  readonly nc: Awaited<ReturnType<typeof connectNats>>;
  readonly names: Names;
  readonly settings: Settings;
  readonly memory: NodeMemory;
  readonly replicas: number;
  /** This node's entry. */
  readonly node: NodeEntry;
  readonly log: NodeLog;
  /** The highest shard that the data table knows, of whatever cluster. Asked at the very first start. */
  readonly highestShard: () => Promise<number>;
}

/**
 * The cluster's topology, with this node in it. Only where there never was one are the logs and the document made, the
 * logs first: a document always names logs that exist, and a start that was cut short in between can be repeated.
 *
 * @throws StartError where the settings contradict what was fixed at the first start, or where there should be a
 *   topology and is none.
 */
export async function ensureTopology(
  ensure: EnsureTopology,
): Promise<{ store: TopologyStore; stored: StoredTopology }> {
  const { nc, names, settings, memory } = ensure;
  const exists = await hasTopology(nc, names, ANSWER_MS).catch((error: Error) => {
    const silent = error instanceof NatsError && error.code === ErrorCode.Timeout;
    const advice = silent ? 'more than half of its servers must run' : 'its configuration needs a jetstream block';
    throw new StartError(`JetStream does not answer on ${serverName(settings)} (${error.message}): ${advice}`, {
      cause: error,
    });
  });
  if (!exists && memory.cluster !== null) throw lostTopology(settings);
  const opening = oncePlaced(() =>
    TopologyStore.open(nc, names, exists ? { create: false } : { create: true, replicas: ensure.replicas }),
  );
  const store = await opening.catch((error: Error) => {
    if (exists) throw error;
    throw new StartError(`the topology's bucket can't be made with ${ensure.replicas} copies: ${error.message}`, {
      cause: error,
    });
  });
  let stored = await oncePlaced(() => store.read());
  if (!stored) {
    if (memory.cluster !== null) throw lostTopology(settings);
    stored = await create(ensure, store);
  }
  checkFixed(settings, stored.topology);
  refuseSecondEmbedded(ensure, stored.topology);
  const cluster = fingerprint(stored.topology);
  if (memory.cluster !== null && memory.cluster !== cluster) {
    throw new StartError(
      `data_dir is ${JSON.stringify(settings.dataDir)}: it belongs to another spill cluster than the one on this NATS ` +
        'server; give this node a data folder of its own with --data-dir, or the right server',
    );
  }
  rememberNode(settings.dataDir, { ...memory, cluster });
  stored = await oncePlaced(() => store.change((topology) => registerNode(topology, ensure.node)));
  return { store, stored };
}

async function create(ensure: EnsureTopology, store: TopologyStore): Promise<StoredTopology> {
  const { nc, names, settings, replicas } = ensure;
  const shardCount = settings.shardCount ?? SHARD_COUNT_DEFAULT;
  const logIds: string[] = [];
  // An older cluster's watermarks stand for other logs: its numbers are not used again.
  const above = await ensure.highestShard();
  // The question took its time: another node's shards may have folded meanwhile, and be the highest.
  const before = await oncePlaced(() => store.read());
  if (before) return before;
  // Nothing was stored before now: what claims to be older than the window is refused from the first moment on.
  const horizon = Date.now() * 1_000 - settings.tuning.dedupeWindowMs * 1_000;
  const small = { ...NO_SMALL_STATE, horizon };
  for (let shard = above + 1; shard <= above + shardCount; shard++) {
    const logId = randomBytes(16).toString('hex');
    try {
      logIds.push(await oncePlaced(() => createLog(nc, names, { shard, logId, replicas, small })));
    } catch (error) {
      // Another node was first, and its shards have begun to write.
      const theirs = await oncePlaced(() => store.read());
      if (theirs) return theirs;
      throw new StartError(`the log of shard ${shard} can't be made: ${(error as Error).message}`, { cause: error });
    }
  }
  const topology = firstTopology({
    node: ensure.node,
    shardCount,
    above,
    largeThreshold: settings.largeThreshold ?? LARGE_THRESHOLD_DEFAULT,
    accountType: settings.mapping.idType,
    dataTable: fixedMapping(settings.mapping),
    replicas,
    secret: randomBytes(32).toString('hex'),
    logIds,
  });
  try {
    const stored = await oncePlaced(() => store.create(topology));
    const numbers = above === 0 ? '' : ` from ${above + 1} on, since the database knows shards up to ${above}`;
    ensure.log.info(`first start: ${shardCount} shards${numbers}, large_threshold ${topology.largeThreshold}`);
    return stored;
  } catch (error) {
    // Another node was first; its document names the same logs, since each of them was made only once.
    if (error instanceof TopologyRaceError) return oncePlaced(() => store.require());
    throw error;
  }
}

function checkFixed(settings: Settings, topology: Topology): void {
  const problems: string[] = [];
  const { largeThreshold, shardCount, replicationFactor } = settings;
  if (largeThreshold !== null && largeThreshold.toString() !== topology.largeThreshold) {
    problems.push(
      `large_threshold is ${largeThreshold}: this cluster has ${topology.largeThreshold}, fixed at its first start; ` +
        'leave it out or give that',
    );
  }
  const { idType } = settings.mapping;
  if (idType !== topology.accountType) {
    problems.push(
      `id_type is ${idType}: this cluster's accounts are written as ${topology.accountType}, fixed at its first ` +
        'start; give that',
    );
  }
  const given = fixedMapping(settings.mapping);
  for (const [key, name] of Object.entries(FIXED_MAPPING_SETTINGS) as [keyof typeof given, string][]) {
    const fixed = topology.dataTable?.[key];
    if (fixed === undefined || fixed === given[key]) continue;
    problems.push(
      `${name} is ${given[key]}: this cluster folds with ${fixed}, fixed at its first start, and balances would be ` +
        'wrong with another; give that',
    );
  }
  const present = topology.shards.filter((shard) => shard.state !== 'retired').length;
  if (shardCount !== null && shardCount !== present) {
    problems.push(
      `shard_count is ${shardCount}: this cluster has ${present} shards, and --shards counts at its first start only; ` +
        'leave it out or give that',
    );
  }
  const replicas = topology.shards[0]?.replicas;
  if (replicationFactor !== null && replicas !== undefined && replicationFactor !== replicas) {
    problems.push(
      `replication_factor is ${replicationFactor}: this cluster's logs have ${replicas}, fixed at its first start; ` +
        'leave it out or give that',
    );
  }
  if (problems.length > 0) throw new StartError(problems.join('\n'));
}

/** The embedded database is on one machine; another node's would hold other balances. */
function refuseSecondEmbedded({ settings, node }: EnsureTopology, topology: Topology): void {
  const others = topology.nodes.filter(({ name }) => name !== node.name).map(({ name }) => name);
  if (settings.databaseUrl !== null || others.length === 0) return;
  throw new StartError(
    `database_url is not set: this cluster has other nodes (${others.join(', ')}), and the embedded database is one ` +
      "machine's own; name the cluster's PostgreSQL",
  );
}

function serverName(settings: Settings): string {
  return settings.nats === null ? `the embedded server (${settings.dataDir}/jetstream)` : withoutLogin(settings.nats);
}

function lostTopology(settings: Settings): StartError {
  const where = serverName(settings);
  return new StartError(
    `the topology of this cluster is missing on ${where}, though the data folder ${settings.dataDir} knows it: ` +
      'JetStream has lost it, or this is another server. Restore it from a backup; a new cluster needs a new --data-dir',
  );
}

/** Of the secret, which no other cluster has; the secret itself stays in the topology. */
function fingerprint(topology: Topology): string {
  return createHash('sha256').update(`spill cluster ${topology.secret}`).digest('hex').slice(0, 32);
}
