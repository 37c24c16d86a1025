import { decodeBody, ReplyCode, RowStatus } from '@spill/core';
import { connect as connectRaw } from 'nats';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { until } from '../support/fault.ts';
import { RouterHarness } from '../support/router-harness.ts';
import { pack } from '../support/wire-arbitraries.ts';

let harness: RouterHarness;

beforeEach(async () => {
  harness = await RouterHarness.start();
});

afterEach(async () => {
  await harness.stop();
});

/** Microseconds. */
const now = (): number => Date.now() * 1_000;

/** Transactions of one account for the credit pool, which shard 1 owns. */
const credits = (count: number, account = 'alice') =>
  Array.from({ length: count }, (_, i) => ({ id: `t${i}`, account, amount: i + 1 }));

describe('a router takes transactions', () => {
  it('stores one, in JSON', async () => {
    const credit = await harness.shard(1);
    await harness.router();
    const reply = await harness.submit({ id: 'a', account: 'alice', amount: 5, timestamp: 1_763_970_000_000_000 });
    expect(reply.errorCode).toBeNull();
    expect(reply.json()).toEqual({
      id: 'a',
      status: 'stored',
      shard: 1,
      sequence: 2,
      timestamp: 1_763_970_000_000_000,
    });
    expect(credit.requests).toHaveLength(1);
    expect(credit.requests[0]!.rows[0]).toMatchObject({ account: 'alice', id: 'a', amount: 5n, stamped: false });
  });

  it('stamps what has no timestamp, and flags it as its own', async () => {
    const credit = await harness.shard(1);
    await harness.router();
    const before = now();
    const { timestamp } = (await harness.submit({ id: 'a', account: 'alice', amount: 5 })).json();
    expect(timestamp).toBeGreaterThanOrEqual(before);
    expect(timestamp).toBeLessThanOrEqual(now());
    expect(credit.requests[0]!.rows[0]).toMatchObject({ timestamp, stamped: true });
  });

  it('answers in MessagePack what was asked in MessagePack', async () => {
    await harness.shard(1);
    await harness.router();
    const reply = await harness.submit(
      pack({ id: 'a', account: 'alice', amount: 5n, timestamp: 1_763_970_000_000_000 }),
    );
    // fixmap of 5, and the timestamp as int64.
    expect(reply.data[0]! & 0xf0).toBe(0x80);
    const int64 = Buffer.alloc(9, 0xd3);
    int64.writeBigInt64BE(1_763_970_000_000_000n, 1);
    expect(Buffer.from(reply.data).includes(int64)).toBe(true);
    const error = await harness.submit(pack({ id: 'a' }));
    expect(error.errorCode).toBe('422');
    expect(error.data[0]).toBe(0x81);
  });

  it('sends each transaction of a batch to its owner and keeps the order', async () => {
    const shards = [await harness.shard(1), await harness.shard(2), await harness.shard(3)];
    await harness.router();
    const batch = Array.from({ length: 300 }, (_, i) => ({
      id: `t${i}`,
      account: `account-${i % 17}`,
      amount: String([i + 1, -i - 1, 5_000_000 + i][i % 3]),
    }));
    const { results } = (await harness.submit(batch)).json();
    expect(results.map((result: { id: string }) => result.id)).toEqual(batch.map(({ id }) => id));
    expect(results.map((result: { shard: number }) => result.shard)).toEqual(batch.map((_, i) => (i % 3) + 1));
    for (const shard of shards) expect(shard.known.size).toBe(100);
  });

  it('answers a transaction twice in one batch: stored, then duplicate', async () => {
    await harness.shard(1);
    await harness.router();
    const one = { id: 'a', account: 'alice', amount: 5, timestamp: now() };
    const { results } = (
      await harness.submit([one, { ...one, timestamp: one.timestamp + 7 }, { ...one, amount: 6 }])
    ).json();
    expect(results[0]).toMatchObject({ status: 'stored', sequence: 2 });
    expect(results[1]).toEqual({ id: 'a', status: 'duplicate', shard: 1, sequence: 2, timestamp: one.timestamp });
    expect(results[2]).toMatchObject({ status: 'rejected', error: { code: 'id_conflict', retryable: false } });
    expect(results[2].error.message).toMatch(/^transactions\[2\]: amount is 6: .* \(5\)/);
  });

  it('gives single transactions of a batch their errors, and stores the others', async () => {
    const credit = await harness.shard(1);
    await harness.router();
    const { results } = (
      await harness.submit([
        { id: 'a', account: 'alice', amount: 5 },
        { id: 'b', account: 'alice', amount: 0 },
        { id: 'c'.repeat(65), account: 'alice', amount: 1 },
        { id: 'd', account: 'alice', amount: 7 },
      ])
    ).json();
    expect(results.map((result: { id: string; status: string }) => [result.id, result.status])).toEqual([
      ['a', 'stored'],
      ['b', 'rejected'],
      [null, 'rejected'],
      ['d', 'stored'],
    ]);
    expect(results[1].error).toEqual({
      code: 'invalid_transaction',
      message: 'transactions[1].amount is 0: must not be 0',
      retryable: false,
    });
    expect(credit.known.size).toBe(2);
  });

  it('splits what is larger than a record, and answers it whole', async () => {
    const credit = await harness.shard(1);
    await harness.router({ recordBytesMax: 4_096 });
    const { results } = (await harness.submit(credits(2_000))).json();
    expect(results.every((result: { status: string }) => result.status === 'stored')).toBe(true);
    expect(credit.requests.length).toBeGreaterThan(10);
    for (const { bytes } of credit.requests) expect(bytes).toBeLessThanOrEqual(4_096 + 4);
    expect(credit.requests.flatMap(({ rows }) => rows.map(({ id }) => id))).toEqual(credits(2_000).map(({ id }) => id));
  });

  it('lets requests that come together travel together', async () => {
    const credit = await harness.shard(1);
    await harness.router();
    await Promise.all(credits(500).map((one) => harness.submit(one)));
    expect(credit.known.size).toBe(500);
    expect(credit.requests.length).toBeLessThan(100);
  });

  it('says where a transaction would go, and where a shard is', async () => {
    await harness.shard(3);
    await harness.router();
    const explained = (await harness.request('spill.route.explain', { account: 'alice', amount: -5_000_000 })).json();
    const { epoch } = await harness.topology();
    expect(explained).toEqual({ pool: 'large', slot: expect.any(Number), shard: 3, epoch });
    const located = (await harness.request('spill.shards.locate', { shard: 3 })).json();
    expect(located).toEqual({
      shard: 3,
      node: 'node-a',
      pid: null,
      subject: 'spill.shard.3.1.submit',
      stream: 'SPILL_3',
      replicas: 1,
      assignment: 1,
      epoch,
    });
    expect((await harness.request('spill.shards.locate', { shard: 9 })).json().error.code).toBe('not_found');
  });

  it('is a NATS service', async () => {
    await harness.router();
    const info = (await harness.request('$SRV.INFO.spill-router', '')).json();
    expect(info.endpoints.map((endpoint: { subject: string }) => endpoint.subject)).toContain(
      'spill.transactions.submit',
    );
    await harness.submit({});
    const stats = (await harness.request('$SRV.STATS.spill-router', '')).json();
    expect(stats.endpoints.find((endpoint: { name: string }) => endpoint.name === 'submit').num_requests).toBe(1);
  });
});

describe('a router refuses what it can not answer, with headers and a body', () => {
  it.each([
    ['what begins like JSON and is not', '{"id":', 'malformed', '400'],
    ['an empty body', '', 'malformed', '400'],
    ['no transaction', [], 'malformed', '400'],
    ['8,193 transactions', credits(8_193), 'batch_too_large', '413'],
    ['an invalid transaction', { id: 'a', account: 'x', amount: 1.5 }, 'invalid_transaction', '422'],
  ])('%s', async (_, body, code, status) => {
    const credit = await harness.shard(1);
    await harness.router();
    const reply = await harness.submit(body);
    expect(reply.errorCode).toBe(status);
    expect(reply.errorText).toMatch(new RegExp(`^${code}: `));
    expect(reply.json()).toEqual({ error: { code, message: expect.any(String), retryable: false } });
    expect(credit.requests).toHaveLength(0);
  });

  it('neither JSON nor MessagePack, in MessagePack, since it does not begin like JSON', async () => {
    await harness.router();
    const reply = await harness.submit('hello');
    expect(reply.errorCode).toBe('400');
    expect(decodeBody(reply.data)).toMatchObject({ error: { code: 'malformed', retryable: false } });
  });

  it('a batch whose reply could be longer than the server takes, before anything is stored', async () => {
    const small = await RouterHarness.start({ maxPayload: '1MB' });
    try {
      const credit = await small.shard(1);
      await small.router();
      const reply = await small.submit(credits(8_192));
      expect(reply.json().error).toMatchObject({ code: 'batch_too_large', message: expect.stringMatching(/reply/) });
      expect(credit.requests).toHaveLength(0);
      expect((await small.submit(credits(1_500))).json().results).toHaveLength(1_500);
    } finally {
      await small.stop();
    }
  });

  it('a deadline that is none', async () => {
    await harness.router();
    const nc = await connectRaw({ servers: harness.server.url });
    const { headers } = await import('nats');
    const sent = headers();
    sent.set('Spill-Deadline-Ms', 'soon');
    const reply = await nc.request('spill.transactions.submit', '{}', { timeout: 5_000, headers: sent });
    expect(reply.json()).toMatchObject({
      error: { code: 'malformed', message: expect.stringMatching(/Spill-Deadline-Ms/) },
    });
    await nc.close();
  });

  it('9 MB are the error of the client that sends them, and the cluster goes on', async () => {
    await harness.shard(1);
    await harness.router();
    const nc = await connectRaw({ servers: harness.server.url });
    await expect(nc.request('spill.transactions.submit', Buffer.alloc(9_000_000), { timeout: 2_000 })).rejects.toThrow(
      /MAX_PAYLOAD_EXCEEDED/,
    );
    await nc.close();
    expect((await harness.submit({ id: 'a', account: 'alice', amount: 5 })).json().status).toBe('stored');
  });

  it('accounts that the table would write otherwise', async () => {
    const credit = await harness.shard(1);
    await harness.store.change((topology) => ({ ...topology, epoch: topology.epoch + 1, accountType: 'int8' }));
    await harness.router();
    const { results } = (
      await harness.submit(['7', '07', '-7', 'x'].map((account, i) => ({ id: `${i}`, account, amount: 1 })))
    ).json();
    expect(results.map((result: { status: string }) => result.status)).toEqual([
      'stored',
      'rejected',
      'stored',
      'rejected',
    ]);
    expect(results[1].error.message).toMatch(/^transactions\[1\]: account is "07": .*int8/);
    expect((await harness.submit({ id: 'a', account: '007', amount: 1 })).errorCode).toBe('422');
    expect([...credit.known.keys()]).toEqual(['7\n0', '-7\n2']);
  });
});

describe('a router whose shard is not where it was', () => {
  it('follows a moved slot, and the client never sees it', async () => {
    const harness4 = await RouterHarness.start({ shardCount: 4 });
    try {
      const [old, other] = [await harness4.shard(1), await harness4.shard(4)];
      await harness4.router();
      old.onSubmit = (request) => old.all(request, RowStatus.moved, { epoch: 99 });
      other.onSubmit = (request) => other.all(request, RowStatus.moved, { epoch: 99 });
      const answer = harness4.submit({ id: 'a', account: 'alice', amount: 5 });
      while (old.requests.length + other.requests.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
      const [owner, target] = old.requests.length > 0 ? [old, other] : [other, old];
      target.onSubmit = (request) => target.store(request);
      await harness4.store.change((topology) => ({
        ...topology,
        epoch: topology.epoch + 1,
        owners: { ...topology.owners, credit: [{ from: 0, to: 1024, shard: target.shard }] },
      }));
      expect((await answer).json()).toMatchObject({ status: 'stored', shard: target.shard });
      expect(owner.known.size).toBe(0);
    } finally {
      await harness4.stop();
    }
  });

  it.each([false, true])(
    'sends again to the successor of a process that died with the request (deaf: %s)',
    async (deaf) => {
      const dead = await harness.shard(1);
      await harness.router({}, null, { deaf });
      dead.onSubmit = () => null;
      const answer = harness.submit({ id: 'a', account: 'alice', amount: 5 });
      while (dead.requests.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
      const began = performance.now();
      const successor = await harness.shard(1);
      expect((await answer).json()).toMatchObject({ status: 'stored', shard: 1 });
      expect(performance.now() - began).toBeLessThan(2_000);
      expect(successor.requests[0]!.rows[0]!.timestamp).toBe(dead.requests[0]!.rows[0]!.timestamp);
    },
  );

  it('looks the topology up after a failure, whatever its watch has said', async () => {
    const before = await harness.shard(1);
    await harness.router({ directAfterMs: 0 }, null, { deaf: true });
    expect((await harness.submit({ id: 'a', account: 'alice', amount: 5 })).json()).toMatchObject({ status: 'stored' });
    await before.die();
    const successor = await harness.shard(1);
    const began = performance.now();
    expect((await harness.submit({ id: 'b', account: 'alice', amount: 5 })).json()).toMatchObject({ status: 'stored' });
    expect(performance.now() - began).toBeLessThan(1_000);
    expect(successor.known.size).toBe(1);
  });

  it('waits for a shard that opens', async () => {
    const credit = await harness.shard(1);
    await harness.router();
    credit.onSubmit = () => credit.reply({ code: ReplyCode.unavailable, message: 'opening' });
    const answer = harness.submit({ id: 'a', account: 'alice', amount: 5 });
    while (credit.requests.length < 3) await new Promise((resolve) => setTimeout(resolve, 5));
    credit.onSubmit = (request) => credit.store(request);
    expect((await answer).json()).toMatchObject({ status: 'stored' });
  });

  it('gives up at the deadline, and says what the shard said', async () => {
    const credit = await harness.shard(1);
    await harness.router();
    credit.onSubmit = () => credit.reply({ code: ReplyCode.unavailable, message: 'opening, 40 % read back' });
    const began = performance.now();
    const { status, error } = (
      await harness.submit({ id: 'a', account: 'alice', amount: 5 }, { deadlineMs: 2_000 })
    ).json();
    expect(performance.now() - began).toBeLessThan(4_000);
    expect(status).toBe('rejected');
    expect(error).toMatchObject({
      code: 'unavailable',
      retryable: true,
      message: expect.stringMatching(/shard 1.*40 %/),
    });
  });

  it('gives up without a process, in time for the client', async () => {
    await harness.router();
    const began = performance.now();
    const { error } = (await harness.submit({ id: 'a', account: 'alice', amount: 5 }, { deadlineMs: 500 })).json();
    expect(performance.now() - began).toBeLessThan(1_000);
    expect(error).toMatchObject({ code: 'unavailable', retryable: true, message: expect.stringMatching(/no process/) });
  });

  it('finds a process that begins to listen within the deadline', async () => {
    await harness.router();
    const answer = harness.submit({ id: 'a', account: 'alice', amount: 5 });
    await new Promise((resolve) => setTimeout(resolve, 300));
    await harness.shard(1);
    expect((await answer).json()).toMatchObject({ status: 'stored' });
  });

  it('answers timeout where a shard is silent, within the deadline', async () => {
    const credit = await harness.shard(1);
    await harness.router();
    credit.onSubmit = () => null;
    const began = performance.now();
    const { error } = (await harness.submit({ id: 'a', account: 'alice', amount: 5 }, { deadlineMs: 400 })).json();
    expect(performance.now() - began).toBeLessThan(1_000);
    expect(error).toMatchObject({ code: 'timeout', retryable: true });
    expect(credit.requests).toHaveLength(1);
    expect(credit.requests[0]!.remainingMs).toBeLessThanOrEqual(400);
  });

  it('stamps again, just above the horizon, what it had stamped below', async () => {
    const credit = await harness.shard(1);
    await harness.router();
    const horizon = now() + 30_000_000;
    credit.horizon = horizon;
    const own = (await harness.submit({ id: 'a', account: 'alice', amount: 5 })).json();
    expect(own.status).toBe('stored');
    expect(own.timestamp).toBeGreaterThan(horizon);
    expect(own.timestamp).toBeLessThan(horizon + 2_000_000);
    const clients = (await harness.submit({ id: 'b', account: 'alice', amount: 5, timestamp: now() })).json();
    expect(clients).toMatchObject({ status: 'rejected', error: { code: 'expired', retryable: false } });
  });

  it('passes on that a shard has too much waiting, at once, and holds others off for a moment', async () => {
    const credit = await harness.shard(1);
    await harness.router();
    const full = credit.reply({ code: ReplyCode.overloaded, retryAfterMs: 250, message: 'pending bytes' });
    const stored = credit.onSubmit;
    credit.onSubmit = () => full;
    const error = {
      code: 'overloaded',
      retryable: true,
      retry_after_ms: 250,
      message: expect.stringMatching(/^shard 1 .*pending bytes/),
    };
    expect((await harness.submit(credits(2))).json()).toEqual({ error });
    expect((await harness.submit({ id: 'z', account: 'alice', amount: 5 })).json()).toMatchObject({ error });
    expect(credit.requests).toHaveLength(1);
    credit.onSubmit = stored;
    await until('the shard to be asked again', async () => {
      const { status } = (await harness.submit({ id: 'z', account: 'alice', amount: 5 })).json();
      return status === 'stored';
    });
    expect(credit.requests).toHaveLength(2);
  });

  it('goes on asking a shard that had one request wait for too much else', async () => {
    const credit = await harness.shard(1);
    await harness.router();
    const stored = credit.onSubmit;
    credit.onSubmit = () => credit.reply({ code: ReplyCode.overloaded, message: 'too many old ids' });
    const { error } = (await harness.submit({ id: 'old', account: 'alice', amount: 5 })).json();
    expect(error).toMatchObject({ code: 'overloaded', retry_after_ms: expect.any(Number) });
    credit.onSubmit = stored;
    expect((await harness.submit({ id: 'new', account: 'alice', amount: 5 })).json().status).toBe('stored');
  });

  it('takes no more than it may hold', async () => {
    const credit = await harness.shard(1);
    await harness.router({ shardTransactionsMax: 100, shardRequestsInFlightMax: 1 });
    let release = (): void => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    credit.onSubmit = async (request) => {
      await held;
      return credit.store(request);
    };
    const first = harness.submit(credits(100));
    while (credit.requests.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    const { error } = (await harness.submit({ id: 'z', account: 'alice', amount: 5 })).json();
    expect(error).toMatchObject({ code: 'overloaded', retryable: true, retry_after_ms: expect.any(Number) });
    release();
    expect((await first).json().results.every((result: { status: string }) => result.status === 'stored')).toBe(true);
    expect((await harness.submit({ id: 'z', account: 'alice', amount: 5 })).json().status).toBe('stored');
  });

  it('passes on what a shard answers for rows that it will not store', async () => {
    const credit = await harness.shard(1);
    await harness.router();
    credit.onSubmit = (request) =>
      credit.reply({
        statuses: Uint8Array.of(RowStatus.ahead, RowStatus.ahead, RowStatus.unavailable, RowStatus.expired).slice(
          0,
          request.rows.length,
        ),
      });
    const { results } = (
      await harness.submit(
        ['a', 'b', 'c', 'd'].map((id) => ({
          id,
          account: 'alice',
          amount: 1,
          timestamp: now() + (id === 'a' ? 3_600_000_000 : 0),
        })),
      )
    ).json();
    expect(results.map((result: { error: { code: string } }) => result.error.code)).toEqual([
      'invalid_transaction',
      // Ahead by the shard's clock alone.
      'unavailable',
      'unavailable',
      'expired',
    ]);
  });
});

describe('a router that stops', () => {
  it('answers what is in flight and takes nothing more', async () => {
    const credit = await harness.shard(1);
    const router = await harness.router();
    let release = (): void => {};
    const held = new Promise<void>((resolve) => {
      release = resolve;
    });
    credit.onSubmit = async (request) => {
      await held;
      return credit.store(request);
    };
    const answer = harness.submit({ id: 'a', account: 'alice', amount: 5 }, { deadlineMs: 60_000 });
    while (credit.requests.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
    const stopped = router.stop();
    await expect
      .poll(() => harness.submit({ id: 'b', account: 'alice', amount: 5 }).catch((e) => e.message))
      .toMatch(/503/);
    // Whoever waits for it to stop, to end the process then, waits for the answer too.
    const ended = await Promise.race([
      stopped.then(() => 'stopped'),
      new Promise((resolve) => setTimeout(resolve, 200, 'answering')),
    ]);
    expect(ended).toBe('answering');
    release();
    expect((await answer).json()).toMatchObject({ status: 'stored' });
    await stopped;
  });
});
