import { type DataTable, DataTableUnavailableError, type Names, SpillError } from '@spill/core';
import type { NatsConnection } from '../nats/connect.js';
import type { HeartbeatStore } from '../nats/heartbeat-store.js';
import { JetStreamLog } from '../nats/log.js';
import type { TopologyStore } from '../nats/topology-store.js';
import { verifyCluster } from '../verify/verify-cluster.js';
import type { VerifyReport } from '../verify/verify-report.js';

export interface VerifyOptions {
  readonly nc: NatsConnection;
  readonly names: Names;
  readonly topology: TopologyStore;
  readonly heartbeats: HeartbeatStore;
  readonly table: DataTable;
}

export type Verify = (request: {
  readonly accounts: readonly string[] | null;
  readonly deadlineMs: number;
}) => Promise<VerifyReport>;

/** One verification at a time: it reads whole logs. */
const RETRY_AFTER_MS = 5_000;

/** Answers `spill.supervisor.verify`. @throws SpillError `overloaded`, `timeout` or `unavailable`. */
export function verifyFor(options: VerifyOptions): Verify {
  const { nc, names, topology, heartbeats, table } = options;
  let running = false;
  return async ({ accounts, deadlineMs }) => {
    if (running) {
      throw new SpillError('overloaded', 'a verification runs already: wait for it', { retryAfterMs: RETRY_AFTER_MS });
    }
    running = true;
    const signal = AbortSignal.timeout(deadlineMs);
    try {
      return await verifyCluster({
        topology: async () => (await topology.require()).topology,
        openLog: (shard) => JetStreamLog.open(nc, names, shard),
        witness: async (shard) => {
          const stored = await heartbeats.read(shard);
          return stored && { ...stored, from: 'the heartbeat of its node' };
        },
        table,
        accounts,
        signal,
      });
    } catch (error) {
      if (signal.aborted) {
        throw new SpillError('timeout', `the verification did not end within ${deadlineMs} ms`, { cause: error });
      }
      if (error instanceof DataTableUnavailableError) {
        throw new SpillError('unavailable', error.message, { cause: error });
      }
      throw error;
    } finally {
      running = false;
    }
  };
}
