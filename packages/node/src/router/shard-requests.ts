import { type Names, shardOf, type Topology } from '@spill/core';
import type { Requester, RequestOutcome } from '../nats/request.js';
import type { TopologyCache } from './topology-cache.js';

/** The process that an attempt goes to. */
export interface ShardTarget {
  readonly shard: number;
  /** 0: none was ever started. */
  readonly assignment: number;
}

export function targetOf(topology: Topology, shard: number): ShardTarget {
  return { shard, assignment: shardOf(topology, shard)?.assignment ?? 0 };
}

/** An answer is overdue: read the topology, since its watch may have fallen silent. */
const OVERDUE_MS = 1_000;

interface Awaited {
  readonly target: ShardTarget;
  readonly replaced: () => void;
}

/**
 * Requests to shard processes that also end, as `replaced`, when the topology gives the shard to another process:
 * a process that died can't say so, and nobody should wait for it until the deadline.
 */
export class ShardRequests {
  private readonly awaited = new Set<Awaited>();

  constructor(
    private readonly names: Names,
    private readonly request: Requester,
    private readonly topology: TopologyCache,
  ) {
    topology.onChange((newest) => {
      for (const { target, replaced } of this.awaited) {
        if (targetOf(newest, target.shard).assignment !== target.assignment) replaced();
      }
    });
  }

  send(
    target: ShardTarget,
    verb: 'submit' | 'ask',
    payload: Uint8Array,
    timeoutMs: number,
  ): Promise<RequestOutcome | { readonly outcome: 'replaced' }> {
    const subject = this.names.shard(target.shard, target.assignment, verb);
    return new Promise((resolve) => {
      const awaited: Awaited = { target, replaced: () => resolve({ outcome: 'replaced' }) };
      this.awaited.add(awaited);
      const overdue = setInterval(() => {
        // A read that fails changes nothing here: the answer is awaited until the deadline all the same.
        this.topology.refresh().catch(() => {});
      }, OVERDUE_MS);
      this.request(subject, payload, { timeoutMs }).then((outcome) => {
        clearInterval(overdue);
        this.awaited.delete(awaited);
        resolve(outcome);
      });
    });
  }
}
