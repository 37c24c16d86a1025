import { SpillError } from '@spill/core';
import type {
  OperatorClient,
  OperatorRequestOptions,
  PerformanceReply,
  ShardPerformance,
  TopologyReply,
  TopologyShard,
} from '@spill/node';

/** Figures for commands that are of use without them, too: null where they can't be had just now. */
export async function performanceOrNull(
  client: OperatorClient,
  options: OperatorRequestOptions,
): Promise<PerformanceReply | null> {
  try {
    return await client.performance(options);
  } catch (error) {
    if (error instanceof SpillError && error.retryable) return null;
    throw error;
  }
}

export type MeasuredShard = TopologyShard & { readonly performance: ShardPerformance | null };

/** Each shard with its figures; null where there are none. */
export function measuredShards(topology: TopologyReply, performance: PerformanceReply | null): MeasuredShard[] {
  return topology.shards.map((shard) => ({
    ...shard,
    performance: performance?.shards.find((entry) => entry.shard === shard.id) ?? null,
  }));
}
