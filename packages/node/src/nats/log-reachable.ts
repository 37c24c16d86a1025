import type { Names } from '@spill/core';
import type { NatsConnection } from 'nats';

const ANSWER_MS = 1_500;

/** Whether the stream of a shard's log is there and has a leader. Never rejects. */
export async function logReachable(nc: NatsConnection, names: Names, shard: number): Promise<boolean> {
  try {
    const jsm = await nc.jetstreamManager({ checkAPI: false, timeout: ANSWER_MS });
    const { cluster } = await jsm.streams.info(names.logStream(shard));
    // A server that stands alone names no leader: it answers, so it has the log.
    return cluster?.leader !== undefined && cluster.leader !== '' ? true : cluster === undefined || !cluster.name;
  } catch {
    return false;
  }
}
