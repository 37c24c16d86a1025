import { ReplyCode, RowStatus } from '@spill/core';
import { connect, type SpillClient, SpillError } from '@spill/node/client';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { FakeDataTable } from '../support/fake-data-table.ts';
import { RouterHarness } from '../support/router-harness.ts';
import { TcpProxy } from '../support/tcp-proxy.ts';

let harness: RouterHarness;
let clients: SpillClient[];

beforeEach(async () => {
  harness = await RouterHarness.start();
  clients = [];
});

afterEach(async () => {
  for (const client of clients) await client.close();
  await harness.stop();
});

async function client(options: Partial<Parameters<typeof connect>[0]> = {}): Promise<SpillClient> {
  const connected = await connect({ servers: harness.server.url, ...options });
  clients.push(connected);
  return connected;
}

describe.each(['shards', 'router'] as const)('a client that goes through %s', (via) => {
  it('stores what it is given, ids and timestamps included', async () => {
    const credit = await harness.shard(1);
    const debit = await harness.shard(2);
    await harness.router();
    const spill = await client({ via });
    expect(spill.via).toBe(via);
    const one = await spill.submit({ account: 'alice', amount: 5n });
    expect(one).toMatchObject({ status: 'stored', shard: 1, sequence: 2 });
    expect(one.id).toMatch(/^[0-9a-f-]{36}$/);
    const many = await spill.submit([
      { account: 'alice', id: 'a', amount: 7 },
      { account: 'alice', id: 'b', amount: -7n, timestamp: 1_763_900_000_000_000 },
      { account: 'alice', id: 'c', amount: 0 },
      { account: 'alice', id: 'a', amount: 7 },
    ]);
    expect(many.map((result) => result.status)).toEqual(['stored', 'stored', 'rejected', 'duplicate']);
    expect(many[1]).toMatchObject({ id: 'b', timestamp: 1_763_900_000_000_000, shard: 2 });
    expect(many[2]).toMatchObject({ id: 'c', error: { code: 'invalid_transaction', retryable: false } });
    expect(credit.known.get('alice\na')).toMatchObject({ amount: 7n });
    expect(debit.known.get('alice\nb')).toMatchObject({ amount: -7n, timestamp: 1_763_900_000_000_000 });
  });

  it('lets calls of one tick travel together', async () => {
    const credit = await harness.shard(1);
    await harness.router();
    const spill = await client({ via });
    const results = await Promise.all(
      Array.from({ length: 500 }, (_, i) => spill.submit({ account: `a${i % 7}`, id: `t${i}`, amount: 1 + i })),
    );
    expect(new Set(results.map((result) => result.status))).toEqual(new Set(['stored']));
    expect(credit.requests.length).toBeLessThan(5);
    expect(credit.known.size).toBe(500);
  });

  it('keeps id and timestamp over its tries, and waits as long as an overloaded shard asks', async () => {
    const credit = await harness.shard(1);
    await harness.router();
    const spill = await client({ via });
    let refusals = 2;
    credit.onSubmit = (request) =>
      refusals-- > 0
        ? credit.reply({ code: ReplyCode.overloaded, retryAfterMs: 150, message: 'full' })
        : credit.store(request);
    const began = performance.now();
    expect(await spill.submit({ account: 'alice', amount: 5 })).toMatchObject({ status: 'stored' });
    expect(performance.now() - began).toBeGreaterThan(300);
    const keys = credit.requests.map(({ rows }) => `${rows[0]!.id} ${rows[0]!.timestamp}`);
    expect(keys).toHaveLength(3);
    expect(new Set(keys).size).toBe(1);
  });

  it('says when to try again where the deadline comes first', async () => {
    const credit = await harness.shard(1);
    await harness.router();
    const spill = await client({ via, deadlineMs: 400 });
    credit.onSubmit = () => null;
    const began = performance.now();
    const silent = await spill.submit({ account: 'alice', amount: 5 });
    expect(performance.now() - began).toBeLessThan(1_200);
    expect(silent).toMatchObject({ status: 'rejected', error: { code: 'timeout', retryable: true } });
    credit.onSubmit = (request) => credit.all(request, RowStatus.expired);
    const before = credit.requests.length;
    const expired = await spill.submit({ account: 'alice', amount: 5, timestamp: 5 });
    expect(expired).toMatchObject({ status: 'rejected', error: { code: 'expired', retryable: false } });
    expect(credit.requests).toHaveLength(before + 1);
    credit.onSubmit = () => credit.reply({ code: ReplyCode.overloaded, retryAfterMs: 5_000, message: 'full' });
    const full = await spill.submit({ account: 'alice', amount: 5 });
    expect(full).toMatchObject({
      status: 'rejected',
      error: { code: 'overloaded', retryable: true, retryAfterMs: 5_000 },
    });
  });

  it('is taken where its clock is wrong, unlike a timestamp of its user', async () => {
    const credit = await harness.shard(1);
    await harness.router();
    const spill = await client({ via });
    // The client's clock is eleven minutes behind the cluster's.
    const horizon = Date.now() * 1_000 + 60_000_000;
    credit.horizon = horizon;
    const slow = await spill.submit({ account: 'alice', amount: 5 });
    expect(slow).toMatchObject({ status: 'stored', timestamp: expect.toSatisfy((at: number) => at >= horizon) });
    const timestamp = Date.now() * 1_000;
    const late = await spill.submit({ account: 'alice', amount: 5, timestamp });
    expect(late).toMatchObject({ error: { code: 'expired' } });
  });

  it('throws what can not be a transaction, or no list of them', async () => {
    await harness.shard(1);
    await harness.router();
    const spill = await client({ via });
    await expect(spill.submit({ account: 'alice', amount: 1.5 })).rejects.toMatchObject({
      code: 'invalid_transaction',
    });
    await expect(spill.submit({ account: 'alice' } as never)).rejects.toThrow(/amount is missing/);
    await expect(spill.submit(null as never)).rejects.toThrow(/null/);
    await expect(spill.submit([])).rejects.toMatchObject({ code: 'malformed' });
    await expect(spill.submit(new Array(8_193).fill({ account: 'a', amount: 1 }))).rejects.toMatchObject({
      code: 'batch_too_large',
    });
  });

  it('reads, with amounts as bigint whatever their size', async () => {
    const table = new FakeDataTable();
    for (const id of [1, 2, 3]) (await harness.shard(id)).answerReads(id.toString(16).padStart(32, '0'));
    await harness.router({}, table.asDataTable());
    const spill = await client({ via });
    const stored = await spill.submit([
      { account: 'alice', id: 'a', amount: 5n, timestamp: 1_763_970_000_000_000 },
      { account: 'alice', id: 'b', amount: 9_223_372_036_854_775_807n, timestamp: 1_763_970_000_000_001 },
    ]);
    expect(stored.map(({ status }) => status)).toEqual(['stored', 'stored']);
    table.rows.set('alice', 2n);
    expect(await spill.balance('alice')).toEqual({
      account: 'alice',
      balance: 9_223_372_036_854_775_814n,
      row: 2n,
      setAside: 0n,
      pending: 9_223_372_036_854_775_812n,
    });
    const [alice, nobody] = await spill.balance(['alice', 'nobody']);
    expect(alice).toMatchObject({ row: 2n });
    expect(nobody).toMatchObject({ account: 'nobody', error: { code: 'not_found' } });
    await expect(spill.balance('nobody')).rejects.toMatchObject({ code: 'not_found', retryable: false });
    expect(await spill.get({ account: 'alice', id: 'a' })).toEqual({
      account: 'alice',
      id: 'a',
      amount: 5n,
      timestamp: 1_763_970_000_000_000,
      shard: 1,
      sequence: 2,
      state: 'pending',
    });
    await expect(spill.get({ account: 'alice', id: 'x' })).rejects.toBeInstanceOf(SpillError);
    const first = await spill.retrieve({ account: 'alice', limit: 1 });
    expect(first.transactions.map(({ id, amount }) => [id, amount])).toEqual([['a', 5n]]);
    const second = await spill.retrieve({ account: 'alice', limit: 1, after: first.next! });
    expect(second.transactions.map(({ id }) => id)).toEqual(['b']);
  });

  it('sends again, with the same id and timestamp, what was under way when its connection broke', async () => {
    const credit = await harness.shard(1);
    await harness.router();
    const { hostname, port } = new URL(harness.server.url);
    const proxy = new TcpProxy(hostname, Number(port));
    await proxy.open();
    try {
      const spill = await client({ via, servers: `nats://${proxy.address}` });
      let release = (): void => {};
      const held = new Promise<void>((resolve) => {
        release = resolve;
      });
      credit.onSubmit = async (request) => {
        const reply = credit.store(request);
        await held;
        return reply;
      };
      const answer = spill.submit({ account: 'alice', amount: 5 });
      await expect.poll(() => credit.requests.length).toBe(1);
      await proxy.cut();
      // Asked while there is no connection: it waits, and goes out afterwards.
      const meanwhile = spill.submit({ account: 'alice', amount: 7 });
      await new Promise((resolve) => setTimeout(resolve, 300));
      expect(credit.requests).toHaveLength(1);
      release();
      const began = performance.now();
      await proxy.open();
      const stored = credit.requests[0]!.rows[0]!;
      expect(await answer).toMatchObject({ status: 'duplicate', id: stored.id, timestamp: stored.timestamp });
      expect(await meanwhile).toMatchObject({ status: 'stored' });
      expect(performance.now() - began).toBeLessThan(2_500);
      expect(credit.known.size).toBe(2);
    } finally {
      await clients.pop()?.close();
      await proxy.cut();
    }
  });

  it('waits for what is under way when it is closed, and takes nothing after', async () => {
    const credit = await harness.shard(1);
    await harness.router();
    const spill = await client({ via });
    let release = (): void => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    credit.onSubmit = async (request) => {
      await held;
      return credit.store(request);
    };
    const answer = spill.submit({ account: 'alice', amount: 5 });
    const closed = spill.close();
    await expect(spill.submit({ account: 'alice', amount: 5 })).rejects.toMatchObject({ code: 'unavailable' });
    release();
    expect(await answer).toMatchObject({ status: 'stored' });
    await closed;
  });
});

describe('a client of a router', () => {
  it('waits for one to be there', async () => {
    await harness.shard(1);
    const spill = await client({ via: 'router' });
    const answer = spill.submit({ account: 'alice', amount: 5 });
    await new Promise((resolve) => setTimeout(resolve, 200));
    await harness.router();
    expect(await answer).toMatchObject({ status: 'stored' });
    const alone = await client({ via: 'router', prefix: 'elsewhere', deadlineMs: 300 });
    expect(await alone.submit({ account: 'alice', amount: 5 })).toMatchObject({
      error: { code: 'unavailable', retryable: true, message: expect.stringMatching(/no router/) },
    });
  });

  it('tries another one where the first has died with the request', async () => {
    const credit = await harness.shard(1);
    const nc = await harness.connection('a router that dies');
    const requests: string[] = [];
    nc.subscribe('spill.transactions.submit', {
      queue: 'spill-router',
      callback: (_, msg) => void requests.push(msg.subject),
    });
    await nc.flush();
    const spill = await client({ via: 'router' });
    const answer = spill.submit({ account: 'alice', id: 'a', amount: 5 });
    await expect.poll(() => requests.length).toBe(1);
    await nc.close();
    await harness.router();
    expect(await answer).toMatchObject({ id: 'a', status: 'stored' });
    expect(credit.known.size).toBe(1);
  });

  it('sends more than a reply can hold in several requests', async () => {
    const small = await RouterHarness.start({ maxPayload: '64KB' });
    try {
      const credit = await small.shard(1);
      await small.router();
      const spill = await connect({ servers: small.server.url, via: 'router' });
      const batch = Array.from({ length: 1_000 }, (_, i) => ({ account: `a${i}`, id: `t${i}`, amount: i + 1 }));
      const results = await spill.submit(batch);
      expect(results.map(({ id, status }) => `${id} ${status}`)).toEqual(batch.map(({ id }) => `${id} stored`));
      expect(credit.known.size).toBe(1_000);
      await spill.close();
    } finally {
      await small.stop();
    }
  });
});

describe('a client of shards', () => {
  it('hands to a router what no shard serves, since only that has the database', async () => {
    const table = new FakeDataTable();
    await harness.router({ directAfterMs: 200 }, table.asDataTable());
    const spill = await client({ via: 'shards' });
    expect(await spill.submit({ account: 'alice', id: 'a', amount: 5 })).toMatchObject({
      status: 'applied',
      shard: null,
      sequence: null,
    });
    expect(table.directWrites).toHaveLength(1);
  });

  it('goes on where a moved shard went, without a router', async () => {
    const credit = await harness.shard(1);
    const spill = await client({ via: 'shards' });
    expect(await spill.submit({ account: 'alice', amount: 5 })).toMatchObject({ status: 'stored' });
    await credit.die();
    const successor = await harness.shard(1);
    expect(await spill.submit({ account: 'alice', amount: 5 })).toMatchObject({ status: 'stored' });
    expect(successor.known.size).toBe(1);
  });

  it('is one by itself where the user may, else a client of a router', async () => {
    await harness.shard(1);
    await harness.router();
    expect((await client()).via).toBe('shards');
    const none = await client({ prefix: 'elsewhere' });
    expect(none.via).toBe('router');
    await expect(connect({ servers: harness.server.url, via: 'shards', prefix: 'elsewhere' })).rejects.toThrow();
  });
});

describe('a client whose NATS user may not talk to shards', () => {
  it('goes through a router', async () => {
    const guarded = await RouterHarness.start({
      config: `authorization {
        users = [
          { user: node, password: node }
          { user: reader, password: reader, permissions {
              publish: ["spill.transactions.>", "spill.balance.>", "$JS.API.>"], subscribe: ["_INBOX.>"] } }
          { user: client, password: client, permissions {
              publish: ["spill.transactions.>", "spill.balance.>"], subscribe: ["_INBOX.>"] } }
        ]
      }`,
      login: 'node:node',
    });
    try {
      await guarded.shard(1);
      await guarded.router();
      for (const user of ['reader', 'client']) {
        const spill = await connect({ servers: guarded.server.url.replace('//', `//${user}:${user}@`) });
        expect(spill.via).toBe('router');
        expect(await spill.submit({ account: 'alice', amount: 5 })).toMatchObject({ status: 'stored' });
        await spill.close();
      }
    } finally {
      await guarded.stop();
    }
  });
});
