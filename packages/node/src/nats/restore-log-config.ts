import type { Names } from '@spill/core';
import type { NatsConnection } from 'nats';
import { logConfig } from './log.js';

/**
 * Gives a log's stream the configuration back that somebody changed, as far as the server lets it be changed. Only a
 * repair does that: what the wrong configuration did to the log meanwhile is for an operator to accept.
 *
 * @throws NatsError where the server refuses (another storage or retention can't be changed back).
 */
export async function restoreLogConfig(
  nc: NatsConnection,
  names: Names,
  shard: number,
  replicas: number,
): Promise<void> {
  const jsm = await nc.jetstreamManager({ checkAPI: false, timeout: 10_000 });
  await jsm.streams.update(names.logStream(shard), logConfig(names, shard, replicas));
}
