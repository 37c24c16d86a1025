import type { Names } from '@spill/core';
import type { NatsConnection } from 'nats';

/** The clock of the JetStream server that leads the topology's bucket, microseconds since 1970. */
export async function readServerTime(nc: NatsConnection, names: Names): Promise<number> {
  const jsm = await nc.jetstreamManager({ checkAPI: false, timeout: 5_000 });
  const info = (await jsm.streams.info(`KV_${names.topologyBucket()}`)) as { readonly ts?: string };
  const time = Date.parse(info.ts ?? '');
  if (Number.isNaN(time)) throw new Error('the server does not tell its time');
  return time * 1_000;
}
