import { connect, type SpillClient } from '@spill/node/client';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { RouterHarness } from '../support/router-harness.ts';

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
});
