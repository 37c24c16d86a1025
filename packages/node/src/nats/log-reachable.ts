import type { Names } from '@spill/core';
import { type NatsConnection, NatsError } from 'nats';
import { askAgain } from './ask-again.js';

const ANSWER_MS = 1_500;
const STREAM_NOT_FOUND = 10_059;

/** `leaderless`: also where nobody answers. */
export type LogLeadership = 'led' | 'leaderless' | 'missing';

/** Whether the stream of a shard's log is there and has a leader. Never rejects. */
export async function logLeadership(nc: NatsConnection, names: Names, shard: number): Promise<LogLeadership> {
  try {
    const jsm = await nc.jetstreamManager({ checkAPI: false, timeout: ANSWER_MS });
    const { cluster } = await askAgain(() => jsm.streams.info(names.logStream(shard)));
    // A server that stands alone names no cluster: it answers, so it has the log.
    return cluster?.name && !cluster.leader ? 'leaderless' : 'led';
  } catch (error) {
    const missing = error instanceof NatsError && error.api_error?.err_code === STREAM_NOT_FOUND;
    return missing ? 'missing' : 'leaderless';
  }
}
