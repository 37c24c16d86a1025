import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Names } from '@spill/core';
import { connectNats, type NatsConnection, TopologyStore } from '@spill/node';
import type { Msg } from 'nats';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { hasTopology } from '../../packages/node/dist/nats/has-topology.js';
import { HeartbeatStore } from '../../packages/node/dist/nats/heartbeat-store.js';
import { Lease } from '../../packages/node/dist/nats/lease.js';
import { JetStreamLog } from '../../packages/node/dist/nats/log.js';
import { logLeadership } from '../../packages/node/dist/nats/log-reachable.js';
import { provideNatsServer } from '../../packages/node/dist/nats/provide-nats-server.js';
import { type PlainNatsServer, startPlainNatsServer } from '../support/plain-nats-server.js';
import { topologyOf } from '../support/random-topology.js';

/**
 * A JetStream that is played. While it elects, it answers no question about a stream, as the real one does; time-outs are
 * 1.5 s and more, so whoever learns of the leader by one is late. And while a server that was cut off takes itself for
 * the leader still, that answers from where it stood.
 */
const ELECTED_MS = 700;
const LATE_MS = 1_400;

const names = new Names();
const topology = topologyOf(3, 1_000_000n);
const WITNESS = {
  logId: '0'.repeat(32),
  assignment: 1,
  sequence: 5,
  number: 5,
  hash: 'ab',
  at: '2026-01-01T00:00:00Z',
};

let folder: string;
let server: PlainNatsServer;
let played: NatsConnection;
let nc: NatsConnection;
let electedAt = 0;
/** Until then a former leader answers, whose log ends with record 4 and whose topology is older. */
let staleUntil = 0;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'spill-leaderless-'));
  server = await startPlainNatsServer((await provideNatsServer()).path, folder, '');
  played = await connectNats({ servers: server.url, name: 'played JetStream', reconnect: false });
  played.subscribe('$JS.API.>', { callback: (_, message) => answer(message) });
  nc = await connectNats({ servers: server.url, name: 'test', reconnect: false });
});

afterAll(async () => {
  await nc?.close();
  await played?.close();
  await server?.stop();
  rmSync(folder, { recursive: true, force: true });
});

beforeEach(() => {
  electedAt = 0;
  staleUntil = 0;
});

interface Stored {
  readonly key: string;
  readonly value: object;
  readonly staleValue?: object;
}

/** The last message of each bucket. */
const STORED: Readonly<Record<string, Stored>> = {
  [`KV_${names.topologyBucket()}`]: { key: 'topology', value: topology, staleValue: { ...topology, epoch: 0.5 } },
  [`KV_${names.heartbeatBucket()}`]: { key: '1', value: WITNESS },
  [`KV_${names.leaseBucket()}`]: { key: 'supervisor', value: { node: 'another' } },
};

function answer(message: Msg): void {
  const [, , ...verbs] = message.subject.split('.');
  const name = verbs.at(-1) as string;
  const stale = performance.now() < staleUntil;
  const lastSequence = stale ? 4 : 7;
  if (performance.now() < electedAt) return;
  if (verbs[0] === 'INFO') respond(message, { streams: 4, limits: {}, api: {} });
  else if (verbs[1] === 'MSG') {
    const { seq = lastSequence } = message.json<{ seq?: number }>();
    const missing = { error: { code: 404, err_code: 10_037, description: 'no message found' } };
    const time = new Date().toISOString();
    const { key, value, staleValue = value } = STORED[name] ?? { key: '', value: {} };
    const data = Buffer.from(JSON.stringify(stale ? staleValue : value)).toString('base64');
    const subject = `$KV.${name.slice('KV_'.length)}.${key}`;
    respond(message, seq > lastSequence ? missing : { message: { subject, seq, data, time } });
  } else {
    respond(message, {
      config: { name, subjects: [], num_replicas: 3, allow_direct: false, max_msgs_per_subject: 1 },
      state: { messages: 1, bytes: 1, first_seq: 1, last_seq: lastSequence, consumer_count: 0 },
      cluster: { name: 'played', leader: 'n1', replicas: [] },
      created: new Date().toISOString(),
    });
  }
}

function respond(message: Msg, body: object): void {
  message.respond(JSON.stringify({ type: 'io.nats.jetstream.api.v1.response', ...body }));
}

/** Asks during an election. Returns the answer where it came soon after. */
async function duringElection<T>(ask: () => Promise<T>): Promise<T> {
  const began = performance.now();
  electedAt = began + ELECTED_MS;
  const told = await ask();
  expect(performance.now() - began).toBeGreaterThanOrEqual(ELECTED_MS);
  expect(performance.now() - began).toBeLessThan(LATE_MS);
  return told;
}

describe('asked while a stream elects its leader', () => {
  test('the topology is read as soon as there is one', async () => {
    const store = await TopologyStore.open(nc, names, { create: false });
    expect(await duringElection(() => store.require())).toMatchObject({ topology: { epoch: topology.epoch } });
  });

  test('the topology is opened at once: nothing has to be asked for that', async () => {
    electedAt = Number.POSITIVE_INFINITY;
    await TopologyStore.open(nc, names, { create: false });
  });

  test('whether there is one is told then', async () => {
    expect(await duringElection(() => hasTopology(nc, names, 30_000))).toBe(true);
  });

  test('a witness is', async () => {
    const heartbeats = await HeartbeatStore.open(nc, names, 3);
    expect(await duringElection(() => heartbeats.read(1))).toEqual(WITNESS);
  });

  test('who holds the lease is', async () => {
    const lease = await Lease.open(nc, names, 'n1', 5_000, 3);
    expect(await duringElection(() => lease.renew())).toBe(false);
  });

  test('whether a log is led is', async () => {
    expect(await duringElection(() => logLeadership(nc, names, 1))).toBe('led');
  });
});

describe('answered by a server that is the leader no more', () => {
  const STALE_MS = 600;

  async function log(): Promise<JetStreamLog> {
    const opened = await JetStreamLog.open(nc, names, 1);
    expect(await opened.info()).toMatchObject({ lastSequence: 7, replicas: 3 });
    staleUntil = performance.now() + STALE_MS;
    return opened;
  }

  test('the topology is never older than it was', async () => {
    const store = await TopologyStore.open(nc, names, { create: false });
    await store.require();
    staleUntil = performance.now() + STALE_MS;
    expect((await store.require()).topology.epoch).toBe(topology.epoch);
  });

  test('a log is never shorter than it was', async () => {
    expect((await (await log()).info()).lastSequence).toBe(7);
    expect((await (await log()).last())?.sequence).toBe(7);
    expect((await (await log()).get(6))?.sequence).toBe(6);
    const read: number[] = [];
    for await (const { sequence } of (await log()).read(3, 7)) read.push(sequence);
    expect(read).toEqual([3, 4, 5, 6, 7]);
  });

  test('what stays away for long is lost', { timeout: 30_000 }, async () => {
    const opened = await log();
    staleUntil = Number.POSITIVE_INFINITY;
    expect((await opened.last())?.sequence).toBe(4);
    // The wait for one was long enough for all.
    expect(await opened.get(6)).toBeNull();
    expect((await opened.info()).lastSequence).toBe(4);
  });
});
