/**
 * A node, from its start to its end.
 *
 * ```
 * lock the data folder ▶ end orphans ▶ nats-server ▶ topology ▶ data table ▶ router and shards ▶ ready
 *                                                                                │ SIGTERM
 *            unlock ◀ nats-server ◀ database ◀ supervisor ◀ shards drain ◀ router drains ◀─┘
 * ```
 *
 * What was started is stopped in reverse, also when a later step fails.
 */
import { randomBytes } from 'node:crypto';
import { Names, type NodeEntry, type Placement } from '@spill/core';
import type { Settings } from '../config/settings.js';
import { openDataTable } from '../data-table/open-data-table.js';
import { ActionStore } from '../nats/action-store.js';
import { connectNats } from '../nats/connect.js';
import { HeartbeatStore } from '../nats/heartbeat-store.js';
import { Lease } from '../nats/lease.js';
import { deleteLog } from '../nats/log.js';
import { logLeadership } from '../nats/log-reachable.js';
import { oncePlaced } from '../nats/once-placed.js';
import { requesterOf } from '../nats/request.js';
import { watchConnection } from '../nats/watch-connection.js';
import { keepDirectMarksFew } from '../supervisor/direct-marks.js';
import { askPresence, NodePresence } from '../supervisor/node-presence.js';
import { Planner } from '../supervisor/planner.js';
import { shardAsker } from '../supervisor/shard-asker.js';
import { ShardPlacer } from '../supervisor/shard-placer.js';
import { startSupervisor } from '../supervisor/supervisor.js';
import { TopologyKeeper } from '../supervisor/topology-keeper.js';
import { verifyFor } from '../supervisor/verify.js';
import { ChildRecords } from './child-records.js';
import { lockDataFolder } from './data-folder.js';
import { keepEmbeddedNats } from './embedded-nats.js';
import { ensureTopology } from './ensure-topology.js';
import { checkServerVersion, verifySync } from './external-nats.js';
import { followTopology, tellToLook } from './follow-topology.js';
import { NodeChildren } from './node-children.js';
import { askHighestShard, openNodeDatabase } from './node-database.js';
import { type NodeLog, openNodeLog } from './node-log.js';
import { recallNode, rememberNode } from './node-memory.js';
import { nameTaken, whyReplaced } from './refuse-namesake.js';
import { StartError } from './start-error.js';
import { waitForServers } from './wait-for-servers.js';
import { withoutLogin } from './without-login.js';

/** Copying may take this long before it is given up, and so many transactions may be left for the pause. */
const COPY_MS_MAX = 120_000;
const TAIL_ROWS_MAX = 2_000;

/** Migrations begun by one plan; shards in all; and where a shard's memory counts as full. */
const MOVES_MAX = 3;
const SHARDS_MAX = 64;
const SHARD_MEMORY_BYTES_MAX = 4 * 1024 ** 3;
const ACTIONS_SHOWN = 100;
const ASK_MS = 1_000;
/** Of each log, where the server is one of a cluster and nothing else was said. */
const REPLICAS_IN_CLUSTER = 3;

/** A record is its batches with headers and bitmaps; the answer to a batch of short ids is larger than the batch. */
const PAYLOAD_PER_RECORD = 1.5;

export interface RunningNode {
  /** Where clients connect: the first server. */
  readonly url: string;
  /** Whether an acknowledgement is known to mean an fsync. */
  readonly syncVerified: boolean;
  /** Resolves when transactions can be taken. */
  readonly ready: Promise<void>;
  /** Resolves with the reason where this node must end: another one has taken its name. */
  readonly replaced: Promise<string>;
  /** Drains and stops everything. True where nothing had to be ended by force. */
  stop(): Promise<boolean>;
  /** Ends everything at once. */
  end(): Promise<void>;
}

export interface StartNodeOptions {
  readonly version: string;
  readonly shardScript?: URL;
  readonly routerScript?: URL;
  /** Aborted: the start is given up, and what was started is stopped. */
  readonly signal: AbortSignal;
}

/** @throws StartError, NatsServerError, DataFolderTakenError: each message is for a person and says the way out. */
export async function startNode(settings: Settings, options: StartNodeOptions): Promise<RunningNode> {
  const started: (() => unknown)[] = [];
  const undo = async (): Promise<void> => {
    for (const stop of started.splice(0).reverse()) await stop();
  };
  try {
    return await start(settings, options, started);
  } catch (error) {
    await undo();
    throw error;
  }
}

async function start(settings: Settings, options: StartNodeOptions, started: (() => unknown)[]): Promise<RunningNode> {
  const { signal } = options;
  started.push(lockDataFolder(settings.dataDir));
  const log = openNodeLog({ dataDir: settings.dataDir, json: settings.jsonLogs, stderr: process.stderr });
  const recalled = await recallNode(settings);
  const memory = settings.nats === null ? { ...recalled, serverCluster: settings.cluster?.name ?? null } : recalled;
  // Before the server touches its files: they belong to this cluster from now on.
  if (settings.nats === null) rememberNode(settings.dataDir, memory);
  const records = new ChildRecords(settings.dataDir);
  const orphans = await records.endOrphans();
  if (orphans.length > 0) log.warn(`ended what an earlier node left running: pid ${orphans.join(', ')}`);

  const nats = await reachNats(settings, memory.nodeName, log, started);
  const names = new Names(settings.prefix);
  const nc = await connect(nats.url, `spill-node ${memory.nodeName}`, settings);
  started.push(() => nc.close());
  const connection = watchConnection(nc, (away) => {
    if (away) log.warn('NATS is away');
    else log.info('NATS is back');
  });
  const server = nc.info;
  if (settings.nats !== null && server) checkServerVersion(settings.nats, server.version, log);
  const payloadMin = Math.ceil(settings.tuning.recordBytesMax * PAYLOAD_PER_RECORD);
  if (server && server.max_payload < payloadMin) {
    throw new StartError(
      `record_bytes_max is ${settings.tuning.recordBytesMax}: the server's max_payload is ${server.max_payload} and must ` +
        `be ${payloadMin} or more, since a record and the answer to a batch are larger than the batch; make the one ` +
        'smaller or the other larger',
    );
  }
  signal.throwIfAborted();

  const wantedReplicas = settings.replicationFactor ?? (server?.cluster ? REPLICAS_IN_CLUSTER : 1);
  if (settings.cluster && nats.monitorUrl) {
    const { monitorUrl } = nats;
    await waitForServers({
      nc,
      names,
      monitorUrl,
      cluster: settings.cluster,
      node: memory.nodeName,
      replicas: wantedReplicas,
      log,
      signal,
    });
  }
  const namesake = await askPresence(nc, names, memory.nodeName);
  if (namesake) {
    throw nameTaken(memory.nodeName);
  }
  const session = randomBytes(8).toString('hex');
  const node: NodeEntry = {
    name: memory.nodeName,
    labels: { ...settings.labels, ...(nats.syncVerified ? {} : { sync: 'unverified' }) },
    since: new Date().toISOString(),
    session,
  };
  const { store, stored } = await ensureTopology({
    nc,
    names,
    settings,
    memory,
    replicas: wantedReplicas,
    node,
    log,
    highestShard: () => askHighestShard(settings, log),
  });
  // What is there already says how many copies the rest has.
  const replicas = stored.topology.shards[0]?.replicas ?? wantedReplicas;
  const heartbeats = await oncePlaced(() => HeartbeatStore.open(nc, names, replicas));
  signal.throwIfAborted();

  const database = await openNodeDatabase(settings, log);
  started.push(() => database.stop());
  signal.throwIfAborted();

  const { tuning } = settings;
  const retentionBytes = tuning.logRetentionBytes ?? memory.logRetentionBytes;
  const common = {
    type: 'start',
    prefix: settings.prefix,
    node: memory.nodeName,
    dataDir: settings.dataDir,
    database: database.config,
    tuning,
  } as const;
  // This node's own server first, then every one that the cluster has named since this node started.
  const named = new Set(nats.url.split(','));
  const servers = (): string => {
    for (const address of nc.info?.connect_urls ?? []) named.add(`nats://${address}`);
    return [...named].join(',');
  };
  let beReplaced = (_: string): void => {};
  const replaced = new Promise<string>((resolve) => {
    beReplaced = resolve;
  });
  let becomeReady = (): void => {};
  const ready = new Promise<void>((resolve) => {
    becomeReady = resolve;
  });
  const children = new NodeChildren({
    node: memory.nodeName,
    topology: store,
    heartbeats,
    records,
    log,
    shardScript: options.shardScript ?? new URL('../shard/shard-process.js', import.meta.url),
    routerScript: options.routerScript ?? new URL('./router-process.js', import.meta.url),
    heartbeatMs: tuning.heartbeatMs,
    startRouter: () => ({ ...common, natsUrl: servers(), role: 'router' }),
    startShard: (shardsHere) => ({
      ...common,
      natsUrl: servers(),
      role: 'shard',
      tuning: { ...tuning, logRetentionBytes: Math.floor(retentionBytes / shardsHere) },
    }),
    natsAway: () => connection.away,
    onStateChange: () => {
      if (children.ready) becomeReady();
    },
  });
  started.push(() => children.end());
  const followed = await followTopology({
    nc,
    names,
    node: memory.nodeName,
    store,
    known: stored.topology,
    onChange: (topology) => {
      const why = whyReplaced(topology, node);
      if (why) beReplaced(why);
      else children.apply(topology);
    },
    onError: (error) => log.warn(`the topology could not be watched: ${error.message}`),
  });
  started.push(() => followed.end());
  if (!stored.topology.shards.some((shard) => shard.node === memory.nodeName)) {
    log.info(
      `no shard is assigned to node ${memory.nodeName}: they are on ${[...new Set(stored.topology.shards.map((shard) => shard.node))].join(', ')}`,
    );
  }
  children.start(stored.topology);

  const table = openDataTable(database.config);
  started.push(() => table.close());
  const ask = shardAsker(requesterOf(nc), names);
  const presence = new NodePresence({
    nc,
    names,
    node: memory.nodeName,
    session,
    silenceMs: tuning.nodeSilenceMs,
    topology: () => followed.read(),
    active: () => keeper.active,
  });
  const placement = (): Placement => ({ alive: presence.alive(), poolLabels: settings.poolLabels });
  const actions = await oncePlaced(() => ActionStore.open(nc, names, replicas));
  const placer = new ShardPlacer({
    topology: store,
    poolLabels: settings.poolLabels,
    alive: (topology) => presence.alive(topology),
    logReachable: async (shard) => (await logLeadership(nc, names, shard)) === 'led',
    onMove: ({ reason, ...move }) => {
      tellToLook(nc, names, move.to);
      return (
        actions
          .add({
            at: new Date().toISOString(),
            by: `the supervisor on ${memory.nodeName}`,
            action: { action: 'reassign_shard', ...move, reason },
            figures: [],
          })
          // What was done stays done where it can't be put on record just now.
          .catch((error: Error) => log.warn(`an action could not be put on record: ${error.message}`))
      );
    },
    log: (message) => log.info(message),
  });
  const keeper: TopologyKeeper = new TopologyKeeper({
    topology: store,
    placer,
    lease: await oncePlaced(() => Lease.open(nc, names, memory.nodeName, tuning.leaseTtlMs, replicas)),
    leaseTtlMs: tuning.leaseTtlMs,
    ask,
    table,
    limits: { pauseMsMax: tuning.maxPauseMs, copyMsMax: COPY_MS_MAX, tailRowsMax: TAIL_ROWS_MAX },
    logRetentionMs: tuning.logRetentionMs,
    deleteLog: (shard) => deleteLog(nc, names, shard),
    onStep: ({ id, pool, source, target }, step) =>
      log.info(`migration ${id} (${pool}, shard ${source} to ${target}): ${step}`),
    log: (message) => log.info(message),
  });
  presence.start(stored.topology);
  started.push(() => presence.stop());
  keeper.start();
  started.push(() => keeper.stop());
  const planner = new Planner({
    nc,
    names,
    topology: store,
    actions,
    settings: {
      growthThreshold: tuning.shardGrowthThreshold,
      shrinkThreshold: tuning.shardShrinkThreshold,
      coolDownMs: tuning.coolDownMs,
      movesMax: MOVES_MAX,
      shardsMax: SHARDS_MAX,
    },
    memoryBytesMax: SHARD_MEMORY_BYTES_MAX,
    dedupeWindowMs: tuning.dedupeWindowMs,
    placement,
    node: memory.nodeName,
    active: () => keeper.active,
    log: (message) => log.info(message),
  });
  planner.start();
  const operator = `an operator, through ${memory.nodeName}`;
  started.push(() => planner.stop());
  const supervisor = await startSupervisor({
    nc,
    names,
    node: memory.nodeName,
    version: options.version,
    topology: store,
    processes: () => children.snapshot(),
    alive: () => presence.alive(),
    createShard: (request) => planner.createShard(request, operator),
    deleteShard: (shard) => planner.deleteShard(shard, operator),
    removeNode: (name) => planner.removeNode(name, operator),
    rebalance: (dryRun) => planner.rebalance(dryRun, operator),
    actions: () => actions.list(ACTIONS_SHOWN),
    verify: verifyFor({ nc, names, topology: store, heartbeats, table }),
    onError: (message) => log.error(message),
  });
  started.push(() => supervisor.stop());
  const endMarks = keepDirectMarksFew({
    table,
    topology: async () => (await store.require()).topology,
    statusOf: async (topology, shard) => {
      const here = children.snapshot().find((child) => child.shard === shard);
      if (here) return here.status ?? undefined;
      const answer = await ask(topology, shard, { ask: 'status' }, ASK_MS);
      return answer?.answer === 'status' ? answer.status : undefined;
    },
    dedupeWindowMicros: tuning.dedupeWindowMs * 1000,
    maxClockSkewMicros: tuning.maxClockSkewMs * 1000,
    onError: (message) => log.error(message),
  });
  started.push(endMarks);

  const undo = async (): Promise<void> => {
    for (const stop of started.splice(0).reverse()) await stop();
  };
  return {
    url: withoutLogin(nats.url.split(',')[0] as string),
    syncVerified: nats.syncVerified,
    ready,
    replaced,
    stop: async () => {
      log.info('stopping: nothing new is taken, what is in flight is answered');
      const clean = await children.drain();
      await undo();
      log.info('stopped');
      return clean;
    },
    end: undo,
  };
}

async function reachNats(
  settings: Settings,
  nodeName: string,
  log: NodeLog,
  started: (() => unknown)[],
): Promise<{ url: string; syncVerified: boolean; monitorUrl: string | null }> {
  if (settings.nats !== null) {
    const syncVerified = await verifySync(settings);
    if (!syncVerified) log.warn('sync is unverified: an acknowledged transaction may be lost when its server crashes');
    return { url: settings.nats, syncVerified, monitorUrl: null };
  }
  const server = await keepEmbeddedNats({
    dataDir: settings.dataDir,
    port: settings.natsPort,
    serverName: nodeName,
    listen: settings.listen,
    cluster: settings.cluster,
    log,
    onStarted: () => {},
  });
  started.push(() => server.stop());
  return { url: server.url, syncVerified: true, monitorUrl: server.monitorUrl };
}

async function connect(url: string, name: string, settings: Settings): ReturnType<typeof connectNats> {
  try {
    return await connectNats({ servers: url.split(','), name, reconnect: true, inOrder: true });
  } catch (error) {
    throw new StartError(
      `nats is ${JSON.stringify(withoutLogin(settings.nats ?? url))}: no server answers there (${(error as Error).message}); ` +
        'start it, or name another with --nats',
    );
  }
}
