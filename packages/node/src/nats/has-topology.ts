import type { Names } from '@spill/core';
import { type NatsConnection, NatsError } from 'nats';
import { askAgain } from './ask-again.js';

const STREAM_NOT_FOUND = 10_059;

/**
 * Whether this server has the bucket of a cluster's topology. Makes nothing. While JetStream elects a leader, nobody
 * answers: it is asked again for `timeoutMs`.
 */
export async function hasTopology(nc: NatsConnection, names: Names, timeoutMs: number): Promise<boolean> {
  const jsm = await nc.jetstreamManager({ checkAPI: false, timeout: timeoutMs });
  try {
    await askAgain(() => jsm.streams.info(`KV_${names.topologyBucket()}`));
    return true;
  } catch (error) {
    if (error instanceof NatsError && error.api_error?.err_code === STREAM_NOT_FOUND) return false;
    throw error;
  }
}
