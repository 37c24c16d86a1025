import type { Names } from '@spill/core';
import { type NatsConnection, NatsError } from 'nats';

const STREAM_NOT_FOUND = 10_059;

/** Whether this server has the bucket of a cluster's topology. Makes nothing. */
export async function hasTopology(nc: NatsConnection, names: Names, timeoutMs = 10_000): Promise<boolean> {
  const jsm = await nc.jetstreamManager({ checkAPI: false, timeout: timeoutMs });
  try {
    await jsm.streams.info(`KV_${names.topologyBucket()}`);
    return true;
  } catch (error) {
    if (error instanceof NatsError && error.api_error?.err_code === STREAM_NOT_FOUND) return false;
    throw error;
  }
}
