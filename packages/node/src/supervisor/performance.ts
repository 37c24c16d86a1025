import type { Names, ShardLoad, ShardStatus, Topology } from '@spill/core';
import { Packr } from 'msgpackr';
import type { NatsConnection } from '../nats/connect.js';
import type { Requester } from '../nats/request.js';
import { type ServedSubject, serveSubject } from '../nats/serve-subject.js';
import type { PerformanceMonitor } from './performance-monitor.js';

const codec = new Packr({ useRecords: false });
const ANSWER_MS = 1_000;

/** What one node measured of its processes, in the protocol's names. */
export interface NodePerformance {
  readonly node: string;
  readonly processes: readonly Record<string, unknown>[];
  readonly shards: readonly Record<string, unknown>[];
}

/** Answers other nodes' supervisors for this node. */
export function servePerformance(
  nc: NatsConnection,
  names: Names,
  node: string,
  monitor: PerformanceMonitor,
): ServedSubject {
  return serveSubject(nc, names.node(node, 'performance'), (_, respond) => {
    respond(codec.pack({ node, ...monitor.report() }));
  });
}

/** Asks every node of the topology; a silent one is left out. */
export async function askPerformance(request: Requester, names: Names, topology: Topology): Promise<NodePerformance[]> {
  const answers = await Promise.all(
    topology.nodes.map(async ({ name }) => {
      const outcome = await request(names.node(name, 'performance'), new Uint8Array(), { timeoutMs: ANSWER_MS });
      return outcome.outcome === 'answer' ? (codec.unpack(outcome.data) as NodePerformance) : null;
    }),
  );
  return answers.filter((answer): answer is NodePerformance => answer !== null);
}

/** The figures that a plan rests on. A shard without a full sample is left out. */
export function loadsOf(performance: readonly NodePerformance[], memoryBytesMax: number): ShardLoad[] {
  return performance.flatMap(({ shards }) =>
    shards.flatMap((figures): ShardLoad[] => {
      const { shard, cpu_percent: cpu, memory_bytes: memory, transactions_per_s: rate, hot_slots: hotSlots } = figures;
      if (typeof shard !== 'number' || typeof cpu !== 'number' || typeof memory !== 'number') return [];
      if (typeof rate !== 'number') return [];
      return [
        {
          shard,
          cpu: cpu / 100,
          memory: memory / memoryBytesMax,
          rate,
          slotRates: new Map((hotSlots as ShardStatus['hotSlots'] | null) ?? []),
        },
      ];
    }),
  );
}
