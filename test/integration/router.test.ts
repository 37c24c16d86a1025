import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { RouterHarness } from '../support/router-harness.ts';

let harness: RouterHarness;

beforeEach(async () => {
  harness = await RouterHarness.start();
});

afterEach(async () => {
  await harness.stop();
});

/** Microseconds. */
const now = (): number => Date.now() * 1_000;

describe('a router takes transactions', () => {
  it('stores one, in JSON', async () => {
    const credit = await harness.shard(1);
    await harness.router();
    const reply = await harness.submit({ id: 'a', account: 'alice', amount: 5, timestamp: now() });
    expect(reply.errorCode).toBeNull();
    expect(reply.json()).toEqual({ id: 'a', status: 'stored', shard: 1, sequence: 2, timestamp: expect.any(Number) });
    expect(credit.requests).toHaveLength(1);
    expect(credit.requests[0]!.rows[0]).toMatchObject({ account: 'alice', id: 'a', amount: 5n, stamped: false });
  });
});
