/**
 * The Transaction Routing Layer: one process a node, all of them in one queue group. It turns requests of the public
 * protocol into batches for shards, and questions into reads of the data table and the shards. It holds no state that
 * its successor would need.
 */
import {
  type DataTable,
  decodeBalanceRequest,
  decodeExplainRequest,
  decodeGetRequest,
  decodeLocateRequest,
  decodeRetrieveRequest,
  encodeBody,
  encodingOf,
  type Names,
  routeTransaction,
  SpillError,
  shardOf,
} from '@spill/core';
import type { NatsConnection } from '../nats/connect.js';
import { requesterOf } from '../nats/request.js';
import { startService } from '../nats/service.js';
import { getTransaction, retrieveTransactions } from './account-reader.js';
import { Answering } from './answering.js';
import { type AccountBalance, readBalances } from './balance-reader.js';
import { type DirectPathTimes, directPathTo } from './direct-path.js';
import { InboundLag } from './inbound-lag.js';
import type { ReadOptions } from './reads.js';
import { askShard } from './shard-questions.js';
import { ShardRequests, targetOf } from './shard-requests.js';
import { answerSubmit } from './submit-endpoint.js';
import { SUBMITTER_DEFAULTS, Submitter, type SubmitterSettings } from './submitter.js';
import { TopologyCache, type TopologySource } from './topology-cache.js';

export interface RouterOptions {
  readonly nc: NatsConnection;
  readonly names: Names;
  readonly topology: TopologySource;
  /** null: no data table is configured; transactions are taken all the same. */
  readonly dataTable: DataTable | null;
  readonly settings: Partial<SubmitterSettings>;
  /** As the shards have them. */
  readonly times?: DirectPathTimes;
  readonly log: (level: 'info' | 'warn' | 'error', message: string) => void;
}

export interface RunningRouter {
  /** Takes no more requests, answers those in flight, and resolves then. */
  stop(): Promise<void>;
  /** Resolves with the error that ended its service, or null after `stop`. */
  readonly stopped: Promise<Error | null>;
}

const VERSION = '0.1.0';
const SUBMITS_AT_ONCE_MAX = 65_536;
const READS_AT_ONCE_MAX = 1_024;
/** The defaults of dedupe_window and max_clock_skew. */
const DIRECT_PATH_TIMES: DirectPathTimes = { dedupeWindowMicros: 600_000_000, maxClockSkewMicros: 60_000_000 };
/** What a request or reply needs beside its body: subject, headers, framing. */
const PAYLOAD_MARGIN_BYTES = 1_024;

/** Begins to answer. @throws Error where there is no topology yet, or the connection is closed. */
export async function startRouter(options: RouterOptions): Promise<RunningRouter> {
  const { nc, names, dataTable, log } = options;
  const topology = await TopologyCache.open(options.topology, (error) => log('warn', `topology: ${error.message}`));
  const maxPayloadBytes = nc.info?.max_payload ?? 1024 * 1024;
  const times = { ...DIRECT_PATH_TIMES, ...options.times };
  const settings = {
    ...SUBMITTER_DEFAULTS,
    maxClockSkewMicros: times.maxClockSkewMicros,
    ...options.settings,
  };
  const requests = new ShardRequests(names, requesterOf(nc), topology);
  const submitter = new Submitter({
    requests,
    topology,
    direct: dataTable && directPathTo(dataTable, times),
    settings: {
      ...settings,
      recordBytesMax: Math.min(settings.recordBytesMax, maxPayloadBytes - PAYLOAD_MARGIN_BYTES),
    },
  });
  const lag = new InboundLag(nc);
  const answering = new Answering(lag, (message) => log('error', message));
  const submitOptions = { submitter, maxPayloadBytes };

  const service = await startService(nc, {
    name: 'spill-router',
    version: VERSION,
    description: 'Takes transactions, routes them to their shards, and answers for accounts.',
    queue: 'spill-router',
    endpoints: [
      answering.endpoint('submit', names.transactions('submit'), SUBMITS_AT_ONCE_MAX, (body, deadlineMs) =>
        answerSubmit(body, deadlineMs, submitOptions),
      ),
      answering.endpoint('get', names.transactions('get'), READS_AT_ONCE_MAX, async (body, deadlineMs) =>
        encodeBody(await getTransaction(decodeGetRequest(body), deadlineMs, reading()), encodingOf(body)),
      ),
      answering.endpoint('retrieve', names.transactions('retrieve'), READS_AT_ONCE_MAX, async (body, deadlineMs) =>
        encodeBody(await retrieveTransactions(decodeRetrieveRequest(body), deadlineMs, reading()), encodingOf(body)),
      ),
      answering.endpoint('balance', names.balanceGet(), READS_AT_ONCE_MAX, async (body, deadlineMs) => {
        const { single, accounts } = decodeBalanceRequest(body);
        const balances = await readBalances(accounts, deadlineMs, reading());
        return encodeBody(single ? oneBalance(balances) : balanceList(accounts, balances), encodingOf(body));
      }),
      answering.endpoint('explain', names.routeExplain(), READS_AT_ONCE_MAX, async (body) => {
        const { account, amount } = decodeExplainRequest(body);
        const { pool, slot, shard } = routeTransaction(topology.current, account, amount);
        const { epoch } = topology.current;
        return encodeBody({ pool, slot, shard: shard.id, epoch }, encodingOf(body));
      }),
      answering.endpoint('locate', names.shardsLocate(), READS_AT_ONCE_MAX, async (body, deadlineMs) => {
        const { shard } = decodeLocateRequest(body);
        return encodeBody(await locateShard(shard, deadlineMs), encodingOf(body));
      }),
    ],
  });

  /** What reads need. @throws SpillError where there is no data table. */
  function reading(): ReadOptions {
    if (!dataTable) throw new SpillError('unavailable', 'no data table is configured, and reads need it');
    return { requests, topology, dataTable, slot: (account) => submitter.slot(account) };
  }

  /** Where a shard is. `pid` is null where its process does not answer. */
  async function locateShard(shard: number, deadlineMs: number): Promise<Record<string, unknown>> {
    const newest = await topology.refresh().catch(() => topology.current);
    const entry = shardOf(newest, shard);
    if (!entry) throw new SpillError('not_found', `shard is ${shard}: there is no such shard`);
    const answer = await askShard(requests, targetOf(newest, shard), { ask: 'status' }, Math.min(deadlineMs, 1_000));
    return {
      shard,
      node: entry.node,
      pid: answer?.answer === 'status' ? answer.status.pid : null,
      subject: names.shard(shard, entry.assignment, 'submit'),
      stream: names.logStream(shard),
      replicas: entry.replicas,
      assignment: entry.assignment,
      epoch: newest.epoch,
    };
  }

  return {
    stopped: service.stopped,
    stop: async () => {
      await service.stop();
      await answering.idle();
      await nc.flush();
      lag.stop();
      topology.close();
    },
  };
}

function oneBalance([balance]: readonly (AccountBalance | SpillError)[]): AccountBalance | undefined {
  if (balance instanceof SpillError) throw balance;
  return balance;
}

/** An account that nobody has seen gets an error in its place; the others are answered. */
function balanceList(accounts: readonly string[], balances: readonly (AccountBalance | SpillError)[]): object {
  return {
    balances: balances.map((balance, place) =>
      balance instanceof SpillError ? { account: accounts[place], error: balance.toWire() } : balance,
    ),
  };
}
