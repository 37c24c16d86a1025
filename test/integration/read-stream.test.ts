import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { connectNats, type NatsConnection } from '@spill/node';
import { ErrorCode, NatsError, type RequestOptions, type SubscriptionOptions } from 'nats';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { provideNatsServer } from '../../packages/node/dist/nats/provide-nats-server.js';
import { readStream } from '../../packages/node/dist/nats/read-stream.js';
import { type PlainNatsServer, startPlainNatsServer } from '../support/plain-nats-server.js';

const STREAM = 'LOG';
const RECORDS = 200;
/** Less than the library's ordered consumer waits before it asks a second time, and what a failover may take. */
const SOON_MS = 10_000;

let folder: string;
let server: PlainNatsServer;
let nc: NatsConnection;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'spill-read-stream-'));
  const config = `jetstream { store_dir: ${JSON.stringify(join(folder, 'jetstream'))} }`;
  server = await startPlainNatsServer((await provideNatsServer()).path, folder, config);
  nc = await connectNats({ servers: server.url, name: 'test', reconnect: false });
  const jsm = await nc.jetstreamManager();
  await jsm.streams.add({ name: STREAM, subjects: ['log'] });
  for (let sequence = 1; sequence <= RECORDS; sequence++) await nc.jetstream().publish('log', `record ${sequence}`);
});

afterAll(async () => {
  await nc?.close();
  await server?.stop();
  rmSync(folder, { recursive: true, force: true });
});

interface Harm {
  /** Whether the making of this consumer is answered by nobody. */
  readonly unheard?: (consumer: string) => boolean;
  /** Whether this message goes missing on its way to the consumer. */
  readonly missing?: (text: string) => boolean;
}

/** A connection on which something goes wrong. */
function harmed({ unheard = () => false, missing = () => false }: Harm): NatsConnection {
  const request = async (subject: string, body?: Uint8Array, options?: RequestOptions): Promise<unknown> => {
    const made = /^\$JS\.API\.CONSUMER\.CREATE\.[^.]+\.(.+)$/.exec(subject)?.[1];
    if (made === undefined || !unheard(made)) return nc.request(subject, body, options);
    await delay(options?.timeout ?? 0);
    throw new NatsError('nobody answers', ErrorCode.Timeout);
  };
  const subscribe = (subject: string, options: SubscriptionOptions = {}): unknown => {
    const { callback } = options;
    if (!callback) return nc.subscribe(subject, options);
    return nc.subscribe(subject, {
      ...options,
      callback: (error, message) => {
        if (!missing(message.string())) callback(error, message);
      },
    });
  };
  const changed: Partial<Record<PropertyKey, unknown>> = { request, subscribe };
  return new Proxy(nc, { get: (target, key) => changed[key] ?? Reflect.get(target, key) });
}

/** Reads all, and returns how long that took, milliseconds. */
async function readAll(over: NatsConnection): Promise<number> {
  const began = performance.now();
  const read: string[] = [];
  for await (const { sequence, bytes } of readStream(over, STREAM, 1, RECORDS)) {
    read.push(`${sequence}: ${Buffer.from(bytes)}`);
  }
  expect(read).toEqual(Array.from({ length: RECORDS }, (_, i) => `${i + 1}: record ${i + 1}`));
  return performance.now() - began;
}

describe('a stream is read whole and in order', () => {
  test('as soon as a leader answers', async () => {
    const electedAt = performance.now() + 700;
    expect(await readAll(harmed({ unheard: () => performance.now() < electedAt }))).toBeLessThan(2_000);
  });

  test('by a third consumer, where two are put on a server that is gone', { timeout: 60_000 }, async () => {
    const gone = new Set<string>();
    const unheard = (consumer: string): boolean => {
      if (gone.size < 2) gone.add(consumer);
      return gone.has(consumer);
    };
    expect(await readAll(harmed({ unheard }))).toBeLessThan(SOON_MS);
    expect(gone.size).toBe(2);
  });

  test.each(['record 1', 'record 120', `record ${RECORDS}`])(
    'where %s goes missing on its way',
    { timeout: 60_000 },
    async (text) => {
      let times = 0;
      const missing = (received: string): boolean => received === text && ++times === 1;
      expect(await readAll(harmed({ missing }))).toBeLessThan(SOON_MS);
      expect(times).toBe(2);
    },
  );

  test('and leaves no consumer behind', async () => {
    const jsm = await nc.jetstreamManager();
    await readAll(nc);
    await expect.poll(async () => (await jsm.consumers.list(STREAM).next()).map(({ name }) => name)).toEqual([]);
  });
});

test('a connection that is closed ends the reading', async () => {
  const own = await connectNats({ servers: server.url, name: 'closed', reconnect: false });
  await own.close();
  await expect(readStream(own, STREAM, 1, RECORDS).next()).rejects.toThrow();
});
