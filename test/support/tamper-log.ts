import { join } from 'node:path';
import { connect, type JetStreamManager, type NatsConnection, NatsError } from 'nats';
import { startPlainNatsServer } from './plain-nats-server.js';

const NO_MESSAGE_FOUND = 10_037;

/** A nats-server of the test's own on the JetStream folder of a node that is stopped. */
export async function onJetStreamFolder<T>(
  binary: string,
  dataDir: string,
  use: (nc: NatsConnection) => Promise<T>,
): Promise<T> {
  const folder = join(dataDir, 'tamper');
  const server = await startPlainNatsServer(
    binary,
    folder,
    `max_payload: 8MB\njetstream { store_dir: ${JSON.stringify(join(dataDir, 'jetstream'))}, sync_interval: always }`,
  );
  try {
    const nc = await connect({ servers: server.url });
    try {
      return await use(nc);
    } finally {
      await nc.close();
    }
  } finally {
    await server.stop();
  }
}

export async function managerOf(nc: NatsConnection): Promise<JetStreamManager> {
  return nc.jetstreamManager({ checkAPI: false, timeout: 10_000 });
}

/** Every record of a shard's log, as the stream holds it. */
export async function recordsOf(nc: NatsConnection, shard: number): Promise<{ sequence: number; bytes: Uint8Array }[]> {
  const jsm = await managerOf(nc);
  const { state } = await jsm.streams.info(`SPILL_${shard}`);
  const records: { sequence: number; bytes: Uint8Array }[] = [];
  for (let sequence = state.first_seq; sequence <= state.last_seq; sequence++) {
    try {
      records.push({ sequence, bytes: (await jsm.streams.getMessage(`SPILL_${shard}`, { seq: sequence })).data });
    } catch (error) {
      if (!(error instanceof NatsError && error.api_error?.err_code === NO_MESSAGE_FOUND)) throw error;
    }
  }
  return records;
}

/** Puts another stream in the place of a shard's log. null: a record that is taken out again, which leaves a gap. */
export async function replaceLog(
  nc: NatsConnection,
  shard: number,
  records: readonly (Uint8Array | null)[],
): Promise<void> {
  const jsm = await managerOf(nc);
  const name = `SPILL_${shard}`;
  const { config } = await jsm.streams.info(name);
  await jsm.streams.delete(name);
  await jsm.streams.add({ ...config, deny_delete: false });
  for (const [i, bytes] of records.entries()) {
    await nc.jetstream().publish(config.subjects[0] as string, bytes ?? new Uint8Array([0]));
    if (bytes === null) await jsm.streams.deleteMessage(name, i + 1);
  }
  await jsm.streams.update(name, { ...config, deny_delete: true });
}
