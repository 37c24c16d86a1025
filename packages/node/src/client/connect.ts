import { Names, type StampedTransaction, type SubmitResult } from '@spill/core';
import { connectNats, type NatsConnection } from '../nats/connect.js';
import { type Requester, requesterOf } from '../nats/request.js';
import { TopologyStore } from '../nats/topology-store.js';
import { packQuestion } from '../router/shard-questions.js';
import { ShardRequests, targetOf } from '../router/shard-requests.js';
import { SUBMITTER_DEFAULTS, Submitter } from '../router/submitter.js';
import { TopologyCache } from '../router/topology-cache.js';
import { DEADLINE_MS_DEFAULT, type SpillConnectOptions } from './options.js';
import { RouterSubmitter } from './router-submitter.js';
import { SpillClient } from './spill-client.js';

const PROBE_MS_MAX = 2_000;
const PAYLOAD_MARGIN_BYTES = 1_024;
const MAX_PAYLOAD_BYTES_DEFAULT = 1024 * 1024;

/**
 * Connects to a cluster.
 *
 * @throws Error where no server answers, or with `via: 'shards'` where the topology can't be read.
 */
export async function connect(options: SpillConnectOptions): Promise<SpillClient> {
  const { via = 'auto', deadlineMs = DEADLINE_MS_DEFAULT } = options;
  const names = new Names(options.prefix);
  const nc = await connectNats({ servers: options.servers, name: options.name ?? 'spill-client', reconnect: true });
  try {
    const request = requesterOf(nc);
    const router = new RouterSubmitter({ names, request, maxPayloadBytes: maxPayloadOf(nc) });
    const shards = via === 'router' ? null : await wayToShards(nc, names, request, router, via === 'shards');
    return new SpillClient({
      names,
      request,
      via: shards ? 'shards' : 'router',
      deadlineMs,
      submit: (transactions, tryMs, onResults) => (shards?.submitter ?? router).take(transactions, tryMs, onResults),
      disconnect: async () => {
        shards?.topology.close();
        await nc.close();
      },
    });
  } catch (error) {
    await nc.close();
    throw error;
  }
}

interface WayToShards {
  readonly submitter: Submitter;
  readonly topology: TopologyCache;
}

/** null: this NATS user may not read the topology or not publish to shards. With `must`, that is an error. */
async function wayToShards(
  nc: NatsConnection,
  names: Names,
  request: Requester,
  router: RouterSubmitter,
  must: boolean,
): Promise<WayToShards | null> {
  const opening = TopologyStore.open(nc, names, { create: false }).then((store) =>
    // A watch that fails is not lost work: the topology is read again whenever an answer says that it is old.
    TopologyCache.open(store, () => {}),
  );
  const topology = await (must ? opening : orNull(opening));
  if (!topology) return null;
  const requests = new ShardRequests(names, request, topology);
  if (!must && !(await mayAskShards(requests, topology))) {
    topology.close();
    return null;
  }
  const submitter = new Submitter({
    requests,
    topology,
    // A client has no database: what would go to the row directly is for a router to decide.
    direct: (transaction, remainingMs) => throughRouter(router, transaction, remainingMs),
    settings: {
      ...SUBMITTER_DEFAULTS,
      recordBytesMax: Math.min(SUBMITTER_DEFAULTS.recordBytesMax, maxPayloadOf(nc) - PAYLOAD_MARGIN_BYTES),
    },
  });
  return { submitter, topology };
}

async function throughRouter(
  router: RouterSubmitter,
  transaction: StampedTransaction,
  remainingMs: number,
): Promise<SubmitResult> {
  const [result] = await router.submit([transaction], remainingMs);
  return result as SubmitResult;
}

/** Whether questions to shards are allowed to leave; whether somebody answers is another matter. */
async function mayAskShards(requests: ShardRequests, topology: TopologyCache): Promise<boolean> {
  const shard = topology.current.shards[0];
  if (!shard) return false;
  const target = targetOf(topology.current, shard.id);
  const outcome = await requests.send(target, 'ask', packQuestion({ ask: 'status' }), PROBE_MS_MAX);
  return outcome.outcome !== 'not_sent';
}

/** What a promise resolves to, or null where it fails or takes too long: a user without rights gets no answer. */
async function orNull(opening: Promise<TopologyCache>): Promise<TopologyCache | null> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<null>((resolve) => {
    timer = setTimeout(() => resolve(null), PROBE_MS_MAX);
  });
  const opened = opening.catch(() => null);
  const first = await Promise.race([opened, late]);
  clearTimeout(timer);
  if (!first) void opened.then((topology) => topology?.close());
  return first;
}

function maxPayloadOf(nc: NatsConnection): number {
  return nc.info?.max_payload ?? MAX_PAYLOAD_BYTES_DEFAULT;
}
