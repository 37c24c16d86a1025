/**
 * What spill's fencing, opening and purging rest on, seen on a real nats-server of the pinned release through the NATS
 * client that spill uses. A newer server or client that breaks one of these promises breaks spill: look here first.
 */
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import {
  connect,
  DiscardPolicy,
  type JetStreamClient,
  type JetStreamManager,
  type NatsConnection,
  type NatsError,
  type PubAck,
  StorageType,
} from 'nats';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type EmbeddedServer, startEmbeddedServer } from '../../packages/node/dist/nats/embedded-server.js';
import { provideNatsServer } from '../../packages/node/dist/nats/provide-nats-server.js';
import { pauseProcess } from '../support/pause-process.js';
import { type PlainNatsServer, startPlainNatsServer } from '../support/plain-nats-server.js';

interface Writer {
  readonly connection: NatsConnection;
  readonly jetstream: JetStreamClient;
  readonly manager: JetStreamManager;
}

const PAUSED_PUBLISH_TIMEOUT_MS = 300;

let binary: string;
let dataDir: string;
let server: EmbeddedServer;
const writers: Writer[] = [];
const plainServers: PlainNatsServer[] = [];

beforeAll(async () => {
  binary = (await provideNatsServer()).path;
});

beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'spill-promises-'));
  server = await startEmbeddedServer({ binary, dataDir, port: 0, log: () => {} });
});

afterEach(async () => {
  for (const writer of writers.splice(0)) await writer.connection.close();
  for (const plain of plainServers.splice(0)) await plain.stop();
  await server.stop();
  await rm(dataDir, { recursive: true, force: true });
});

async function writer(url = server.url, name = 'writer'): Promise<Writer> {
  const connection = await connect({ servers: url, reconnect: false, name });
  const made = { connection, jetstream: connection.jetstream(), manager: await connection.jetstreamManager() };
  writers.push(made);
  return made;
}

async function makeLog(w: Writer, more: { max_bytes?: number } = {}): Promise<void> {
  await w.manager.streams.add({
    name: 'LOG',
    subjects: ['log'],
    storage: StorageType.File,
    discard: DiscardPolicy.New,
    deny_delete: true,
    ...more,
  });
}

function publish(w: Writer, lastSequence: number, body: string | Uint8Array = 'x', timeout = 5_000): Promise<PubAck> {
  const bytes = typeof body === 'string' ? new TextEncoder().encode(body) : body;
  return w.jetstream.publish('log', bytes, { timeout, expect: { lastSequence, streamName: 'LOG' } });
}

async function fill(w: Writer, count: number): Promise<void> {
  const { state } = await w.manager.streams.info('LOG');
  for (let i = 0; i < count; i++) await publish(w, state.last_seq + i, `record ${state.last_seq + i + 1}`);
}

async function range(w: Writer): Promise<{ messages: number; first: number; last: number }> {
  const { state } = await w.manager.streams.info('LOG');
  return { messages: state.messages, first: state.first_seq, last: state.last_seq };
}

async function body(w: Writer, seq: number): Promise<string> {
  return (await w.manager.streams.getMessage('LOG', { seq })).string();
}

/** How a publish failed; fails itself where it did not. */
async function failure(publishing: Promise<unknown>): Promise<NatsError> {
  return publishing.then(
    () => {
      throw new Error('was accepted');
    },
    (error: NatsError) => error,
  );
}

const refusedFor = (errCode: number) => ({ api_error: { err_code: errCode } });

/** Until the server has read all that this connection sent and has seen it closed; nothing else tells. */
async function untilForgotten(name: string): Promise<void> {
  for (;;) {
    const connz = (await (await fetch(`${server.monitorUrl}/connz`)).json()) as { connections: { name?: string }[] };
    if (!connz.connections.some((connection) => connection.name === name)) return;
    await delay(10);
  }
}

describe('a fenced publish', () => {
  it('says where it must land in two headers', async () => {
    const w = await writer();
    await makeLog(w);
    const seen = new Promise<Record<string, string[]>>((resolve) => {
      w.connection.subscribe('log', {
        max: 1,
        callback: (_, message) => {
          resolve(Object.fromEntries([...message.headers!].map(([key, values]) => [key, values])));
        },
      });
    });
    expect(await publish(w, 0)).toEqual({ stream: 'LOG', seq: 1, duplicate: false });
    expect(await seen).toEqual({ 'Nats-Expected-Stream': ['LOG'], 'Nats-Expected-Last-Sequence': ['0'] });
  });

  it('lands at expected + 1 or is refused with 10071, and 0 means empty', async () => {
    const w = await writer();
    await makeLog(w);
    await fill(w, 3);
    for (const expected of [0, 2, 4]) {
      const error = await failure(publish(w, expected));
      expect(error).toMatchObject({ name: 'NatsError', code: '400', ...refusedFor(10071) });
      expect(error.message).toBe('wrong last sequence: 3');
    }
    expect((await publish(w, 3)).seq).toBe(4);
  });

  it('to a stream of another name is refused with 10060', async () => {
    const w = await writer();
    await makeLog(w);
    const wrong = w.jetstream.publish('log', new Uint8Array(), { expect: { lastSequence: 0, streamName: 'OTHER' } });
    expect(await failure(wrong)).toMatchObject({ code: '400', ...refusedFor(10060) });
    expect(await range(w)).toMatchObject({ messages: 0, last: 0 });
  });

  it('without a stream is answered 503 with no JetStream error in it', async () => {
    const w = await writer();
    const error = await failure(publish(w, 0));
    expect(error).toMatchObject({ code: '503' });
    expect(error.api_error).toBe(undefined);
  });

  it('fences only one record in flight: later ones of a predecessor are stored (hazard 1)', async () => {
    const [old, successor] = [await writer(), await writer()];
    await makeLog(old);
    await fill(old, 1);
    expect((await publish(successor, 1, 'opened')).seq).toBe(2);
    expect(await failure(publish(old, 1, 'A'))).toMatchObject(refusedFor(10071));
    expect((await publish(old, 2, 'B')).seq).toBe(3);
  });
});

describe('a definite refusal', () => {
  it('for a full stream is 10077, and leaves the sequence as it is', async () => {
    const w = await writer();
    await makeLog(w, { max_bytes: 3_000 });
    await publish(w, 0, new Uint8Array(900));
    await publish(w, 1, new Uint8Array(900));
    for (let i = 0; i < 3; i++) {
      const error = await failure(publish(w, 2, new Uint8Array(900)));
      expect(error).toMatchObject({ code: '503', ...refusedFor(10077) });
      expect(error.api_error?.description).toBe('maximum bytes exceeded');
    }
    await w.manager.streams.purge('LOG', { seq: 2 });
    expect((await publish(w, 2, new Uint8Array(900))).seq).toBe(3);
  });

  it('for a full server is 10023, comes after the look at the sequence, and leaves that as it is', async () => {
    await server.stop();
    server = await startEmbeddedServer({ binary, dataDir, port: 0, maxFileStoreBytes: 50_000, log: () => {} });
    const w = await writer();
    await makeLog(w);
    let last = 0;
    let error: NatsError | undefined;
    while (!error) {
      const outcome = await publish(w, last, new Uint8Array(5_000)).catch((e: NatsError) => e);
      if ('seq' in outcome) last = outcome.seq;
      else error = outcome;
    }
    expect(last).toBe(10);
    expect(error).toMatchObject({ code: '503', ...refusedFor(10023) });
    expect(await failure(publish(w, last + 1))).toMatchObject(refusedFor(10071));
    await w.manager.streams.purge('LOG', { seq: last - 1 });
    expect((await publish(w, last, new Uint8Array(5_000))).seq).toBe(last + 1);
  });

  it('for a full account is 10002, and leaves the sequence as it is', async () => {
    const config = `
      jetstream { store_dir: ${JSON.stringify(join(dataDir, 'accounts'))}, sync_interval: always }
      accounts { SMALL { users: [{ user: small, password: small }], jetstream: { max_file: 20000, max_mem: 0 } } }
      no_auth_user: small
    `;
    const plain = await startPlainNatsServer(binary, join(dataDir, 'plain'), config);
    plainServers.push(plain);
    const w = await writer(plain.url);
    await makeLog(w);
    for (let i = 0; i < 3; i++) await publish(w, i, new Uint8Array(5_000));
    const error = await failure(publish(w, 3, new Uint8Array(6_000)));
    expect(error).toMatchObject({ code: '400', ...refusedFor(10002) });
    await w.manager.streams.purge('LOG', { seq: 3 });
    expect((await publish(w, 3, new Uint8Array(6_000))).seq).toBe(4);
  });

  it("for too large a message is the client's own: nothing is sent, the connection goes on", async () => {
    const w = await writer();
    await makeLog(w);
    expect(w.connection.info?.max_payload).toBe(8 * 1024 * 1024);
    expect(await failure(publish(w, 0, new Uint8Array(9_000_000)))).toMatchObject({ code: 'MAX_PAYLOAD_EXCEEDED' });
    expect((await publish(w, 0, new Uint8Array(8 * 1024 * 1024 - 1_024))).seq).toBe(1);
  });
});

describe('a disk that is full for real', () => {
  it('is no definite refusal: no answer, to this and to every later publish, until the server starts again', async () => {
    await server.stop();
    const complaints: string[] = [];
    const options = { binary, dataDir, port: 0, log: () => {}, onWriteError: (line: string) => complaints.push(line) };
    // No file may grow above some 4 MB: for the server a write that fails in the middle of a block, as on a full disk.
    const limited = join(dataDir, 'limited');
    await writeFile(limited, `#!/bin/sh\nulimit -f 8000\nexec ${binary} "$@"\n`);
    await chmod(limited, 0o755);
    server = await startEmbeddedServer({ ...options, binary: limited });
    let w = await writer();
    await makeLog(w);
    await publish(w, 0, new Uint8Array(3_000_000));
    expect(await failure(publish(w, 1, new Uint8Array(3_000_000), 500))).toMatchObject({ code: 'TIMEOUT' });
    expect(complaints[0]).toMatch(/critical write error.*file too large/i);
    expect(await failure(publish(w, 1, 'small', 500))).toMatchObject({ code: 'TIMEOUT' });
    expect(await failure(w.manager.streams.purge('LOG'))).toMatchObject({ code: '500' });

    await server.stop();
    server = await startEmbeddedServer(options);
    w = await writer();
    expect(await range(w)).toEqual({ messages: 1, first: 1, last: 1 });
    expect((await publish(w, 1, 'small')).seq).toBe(2);
  });
});

describe('a publish without an answer', () => {
  it('can be stored after its writer gave up and closed the connection (hazard 2)', async () => {
    const [old, other] = [await writer(server.url, 'old'), await writer()];
    await makeLog(other);
    await fill(other, 1);
    await pauseProcess(server.pid);
    const error = await failure(publish(old, 1, 'late', PAUSED_PUBLISH_TIMEOUT_MS));
    await old.connection.close();
    process.kill(server.pid, 'SIGCONT');
    expect(error.code).toBe('TIMEOUT');
    await untilForgotten('old');
    expect(await range(other)).toMatchObject({ last: 2 });
    expect(await body(other, 2)).toBe('late');
  });

  it('lands before the successor has opened, or never', async () => {
    const successor = await writer();
    await makeLog(successor);
    await fill(successor, 1);
    for (let round = 0; round < 10; round++) {
      const old = await writer(server.url, `old ${round}`);
      const { last } = await range(successor);
      await pauseProcess(server.pid);
      await failure(publish(old, last, 'late', 50));
      await old.connection.close();
      process.kill(server.pid, 'SIGCONT');
      // Opening: append `opened` where the log is believed to end, and look again where that is refused.
      let opened: PubAck | undefined;
      for (let end = last; !opened; end = (await range(successor)).last) {
        opened = await publish(successor, end, 'opened').catch((error: NatsError) => {
          expect(error).toMatchObject(refusedFor(10071));
          return undefined;
        });
      }
      await untilForgotten(`old ${round}`);
      expect(await range(successor)).toMatchObject({ last: opened.seq });
      expect(await body(successor, opened.seq)).toBe('opened');
      expect((await publish(successor, opened.seq, 'next')).seq).toBe(opened.seq + 1);
    }
  });

  it('fails at once, as a TIMEOUT, where the connection is lost and reconnect is off', async () => {
    const w = await writer();
    await makeLog(w);
    await pauseProcess(server.pid);
    const since = performance.now();
    const inFlight = Promise.all([failure(publish(w, 0, 'a', 30_000)), failure(publish(w, 0, 'b', 30_000))]);
    process.kill(server.pid, 'SIGKILL');
    for (const error of await inFlight) expect(error).toMatchObject({ code: 'TIMEOUT' });
    expect(performance.now() - since).toBeLessThan(10_000);
    expect(w.connection.isClosed()).toBe(true);
    // Only what is published after the close says so, and was never sent.
    expect(await failure(publish(w, 0))).toMatchObject({ code: 'CONNECTION_CLOSED' });
  });
});

describe('the last sequence', () => {
  it('is kept over kill -9, with all records and with one', async () => {
    let w = await writer();
    await makeLog(w);
    await fill(w, 20);
    for (const purgeBelow of [1, 20]) {
      if (purgeBelow > 1) await w.manager.streams.purge('LOG', { seq: purgeBelow });
      process.kill(server.pid, 'SIGKILL');
      await server.exited;
      server = await startEmbeddedServer({ binary, dataDir, port: 0, log: () => {} });
      w = await writer();
      const { first, last } = await range(w);
      expect(first).toBe(purgeBelow);
      expect(await failure(publish(w, 0))).toMatchObject(refusedFor(10071));
      expect((await publish(w, last)).seq).toBe(last + 1);
    }
    expect(await range(w)).toEqual({ messages: 3, first: 20, last: 22 });
  });

  it('begins again at 0 where the stream was deleted and made again', async () => {
    const w = await writer();
    await makeLog(w);
    await fill(w, 3);
    await w.manager.streams.delete('LOG');
    await makeLog(w);
    expect((await publish(w, 0)).seq).toBe(1);
  });
});

describe('a purge below a sequence (hazard 3)', () => {
  let w: Writer;

  beforeEach(async () => {
    w = await writer();
    await makeLog(w);
    await fill(w, 5);
  });

  const purge = (seq: number) => w.manager.streams.purge('LOG', { seq });

  it('keeps that sequence and what follows', async () => {
    await purge(2);
    expect(await range(w)).toEqual({ messages: 4, first: 2, last: 5 });
    await purge(5);
    expect(await range(w)).toEqual({ messages: 1, first: 5, last: 5 });
    await purge(3);
    expect(await range(w)).toEqual({ messages: 1, first: 5, last: 5 });
  });

  it('of 0 empties the stream', async () => {
    await purge(0);
    expect(await range(w)).toEqual({ messages: 0, first: 6, last: 5 });
  });

  it('of 1 does nothing (older servers empty the stream)', async () => {
    await purge(1);
    expect(await range(w)).toEqual({ messages: 5, first: 1, last: 5 });
  });

  it('of last + 1 empties the stream', async () => {
    await purge(6);
    expect(await range(w)).toEqual({ messages: 0, first: 6, last: 5 });
  });

  it('of a sequence above that empties the stream and jumps ahead', async () => {
    await purge(100);
    expect(await range(w)).toEqual({ messages: 0, first: 100, last: 99 });
    expect(await failure(publish(w, 5))).toMatchObject(refusedFor(10071));
    expect((await publish(w, 99)).seq).toBe(100);
  });
});

describe('deny_delete', () => {
  it('refuses to delete a record, and can not be taken back', async () => {
    const w = await writer();
    await makeLog(w);
    await fill(w, 3);
    const error = await failure(w.manager.streams.deleteMessage('LOG', 2));
    expect(error).toMatchObject({ code: '500', ...refusedFor(10057) });
    expect(await body(w, 2)).toBe('record 2');
    const undo = w.manager.streams.update('LOG', { deny_delete: false });
    expect(await failure(undo)).toMatchObject(refusedFor(10052));
    expect((await w.manager.streams.info('LOG')).config.deny_delete).toBe(true);
  });
});
