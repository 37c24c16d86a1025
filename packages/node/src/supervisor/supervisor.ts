/**
 * The supervisor, as far as one machine needs it: operators' requests over the NATS service `spill-supervisor`. It
 * stands beside the way of a transaction and never on it.
 */

import {
  decodeCreateShardRequest,
  decodeDeleteShardRequest,
  decodeEmptyRequest,
  decodeFoldRequest,
  decodeRebalanceRequest,
  decodeRemoveNodeRequest,
  decodeVerifyRequest,
  encodeBody,
  encodingOf,
  type Names,
  type Plan,
  type Pool,
  SpillError,
  serviceErrorReply,
} from '@spill/core';
import type { RecordedAction } from '../client/operator-replies.js';
import type { NatsConnection } from '../nats/connect.js';
import { requesterOf } from '../nats/request.js';
import { type ServiceRequest, startService } from '../nats/service.js';
import type { TopologyStore } from '../nats/topology-store.js';
import { foldShards } from './fold-shards.js';
import { askPerformance, servePerformance } from './performance.js';
import { PerformanceMonitor, type WatchedProcess } from './performance-monitor.js';
import { topologyReply } from './topology-reply.js';
import type { Verify } from './verify.js';

export interface SupervisorOptions {
  readonly nc: NatsConnection;
  readonly names: Names;
  readonly node: string;
  readonly version: string;
  readonly topology: TopologyStore;
  processes(): readonly WatchedProcess[];
  /** Nodes heard of lately. */
  alive(): ReadonlySet<string>;
  readonly verify: Verify;
  /** Resolves with the new shard's number. */
  createShard(request: { readonly pool: Pool; readonly node: string | null }): Promise<number>;
  /** Begins to close it. Resolves with the state it is in. */
  deleteShard(shard: number): Promise<string>;
  /** Refused where it lives or has shards. */
  removeNode(node: string): Promise<void>;
  rebalance(dryRun: boolean): Promise<Plan>;
  /** What was done, the newest first. */
  actions(): Promise<RecordedAction[]>;
  onError(message: string): void;
}

export interface Supervisor {
  stop(): Promise<void>;
}

/** Operators' requests may take long; a client that waits less says so in `Spill-Deadline-Ms`. */
const DEADLINE_MS = 60_000;

type Operation = (body: Uint8Array, deadlineMs: number) => Promise<unknown>;

export async function startSupervisor(options: SupervisorOptions): Promise<Supervisor> {
  const { nc, names, topology } = options;
  const monitor = new PerformanceMonitor(options.processes, (error) => {
    options.onError(`a process could not be measured: ${error.message}`);
  });
  const operations: Record<string, Operation> = {
    topology: async (body) => {
      decodeEmptyRequest(body);
      return topologyReply((await topology.require()).topology, options.alive());
    },
    performance: async (body) => {
      decodeEmptyRequest(body);
      const { topology: newest } = await topology.require();
      const nodes = await askPerformance(requesterOf(nc), names, newest);
      return {
        nodes: newest.nodes.map(({ name }) => ({ name, answered: nodes.some(({ node }) => node === name) })),
        processes: nodes.flatMap(({ node, processes }) => processes.map((process) => ({ node, ...process }))),
        shards: nodes.flatMap(({ node, shards }) => shards.map((shard) => ({ node, ...shard }))),
      };
    },
    fold: async (body, deadlineMs) => {
      const { shard } = decodeFoldRequest(body);
      return foldShards({ request: requesterOf(nc), topology, names, shard, deadlineMs });
    },
    verify: async (body, deadlineMs) => {
      const { accounts } = decodeVerifyRequest(body);
      return options.verify({ accounts, deadlineMs });
    },
    create_shard: async (body) => ({ shard: await options.createShard(decodeCreateShardRequest(body)) }),
    delete_shard: async (body) => {
      const { shard } = decodeDeleteShardRequest(body);
      return { shard, state: await options.deleteShard(shard) };
    },
    remove_node: async (body) => {
      const { node } = decodeRemoveNodeRequest(body);
      await options.removeNode(node);
      return { node };
    },
    rebalance: async (body) => {
      const { dryRun } = decodeRebalanceRequest(body);
      const { actions, notes } = await options.rebalance(dryRun);
      return { dry_run: dryRun, actions, notes };
    },
    actions: async (body) => {
      decodeEmptyRequest(body);
      return { actions: await options.actions() };
    },
  };
  const service = await startService(nc, {
    name: 'spill-supervisor',
    version: options.version,
    description: 'Operations on a spill cluster: topology, performance, fold, verify.',
    queue: `${names.prefix}-supervisor`,
    endpoints: Object.entries(operations).map(([verb, operation]) => ({
      name: verb,
      subject: names.supervisor(verb),
      handler: (request) => void answer(request, operation, options),
    })),
  });
  monitor.start();
  const served = servePerformance(nc, names, options.node, monitor);
  return {
    stop: async () => {
      await served.drain();
      monitor.stop();
      await service.stop();
    },
  };
}

async function answer(request: ServiceRequest, operation: Operation, options: SupervisorOptions): Promise<void> {
  const encoding = encodingOf(request.data);
  try {
    const deadlineMs = readDeadline(request.header('Spill-Deadline-Ms'));
    request.respond(encodeBody(await operation(request.data, deadlineMs), encoding));
  } catch (error) {
    const known = error instanceof SpillError ? error : unexpected(error, options);
    const reply = serviceErrorReply(known, encoding);
    request.respondError(reply.status, reply.description, reply.body);
  }
}

function unexpected(error: unknown, options: SupervisorOptions): SpillError {
  const message = error instanceof Error ? error.message : String(error);
  options.onError(`an operator's request failed: ${message}`);
  return new SpillError('internal', message, { cause: error });
}

function readDeadline(header: string | undefined): number {
  if (header === undefined) return DEADLINE_MS;
  const ms = /^\d{1,9}$/.test(header) ? Number(header) : 0;
  if (ms > 0) return ms;
  throw new SpillError(
    'malformed',
    `the header Spill-Deadline-Ms is ${JSON.stringify(header)}: must be whole milliseconds`,
  );
}
