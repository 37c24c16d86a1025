import { Packr } from 'msgpackr';
import { connect, type NatsConnection } from 'nats';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startNode, type TestNode } from '../support/spill-node.js';
import { slotVectors } from './slot-vectors.js';

/** As most JavaScript programs pack: integers beyond 32 bits go out as float64. */
const plain = new Packr({ useRecords: false, int64AsType: 'bigint' });
const INT64_MAX = 2n ** 63n - 1n;

type Value = Record<string, unknown>;

describe('a plain NATS client in Node', () => {
  let node: TestNode;
  let nc: NatsConnection;
  beforeAll(async () => {
    node = await startNode({ args: ['--create-accounts', '--large-threshold', '80000'] });
    nc = await connect({ servers: node.natsUrl });
  });
  afterAll(async () => {
    await nc?.close();
    await node?.dispose();
  });

  const packed = async (subject: string, value: unknown): Promise<Value> =>
    plain.unpack((await nc.request(subject, plain.pack(value), { timeout: 10_000 })).data) as Value;
  const json = async (subject: string, body: string): Promise<Value> =>
    (await nc.request(subject, body, { timeout: 10_000 })).json<Value>();
  const submit = 'spill.transactions.submit';

  test.each([INT64_MAX, -INT64_MAX, 2n ** 53n + 1n, -(2n ** 53n) - 1n])(
    'gets %d back exactly, in both encodings',
    async (amount) => {
      const key = { account: `exact-${amount}`, id: 'x' };
      expect(await json(submit, JSON.stringify({ ...key, amount: String(amount) }))).toMatchObject({
        status: 'stored',
      });
      expect(await packed(submit, { ...key, amount })).toMatchObject({ status: 'duplicate' });
      expect(await packed('spill.transactions.get', key)).toMatchObject({ amount });
      expect(await json('spill.transactions.get', JSON.stringify(key))).toMatchObject({ amount: String(amount) });
    },
  );

  test('may send integers as float64, amounts and timestamps alike', async () => {
    const timestamp = Date.now() * 1_000 + 7;
    const sent = { account: 'float', id: 'x', amount: Number.MAX_SAFE_INTEGER, timestamp };
    const bytes = plain.pack(sent);
    // 0xcb: what this encoder makes of them is float64 indeed.
    expect(bytes.filter((byte) => byte === 0xcb).length).toBeGreaterThanOrEqual(2);
    expect(await packed(submit, sent)).toMatchObject({ status: 'stored', timestamp: BigInt(timestamp) });
    // The same amount and time as int64 are the same transaction, not a conflict.
    const exact = { ...sent, amount: BigInt(sent.amount), timestamp: BigInt(timestamp) };
    expect(await packed(submit, exact)).toMatchObject({ status: 'duplicate' });
  });

  test('is told what it sent wrong, with error headers in its own encoding', async () => {
    const value = { account: 'a', id: 'x', amount: 1.5 };
    for (const body of [JSON.stringify(value), plain.pack(value)]) {
      const reply = await nc.request(submit, body, { timeout: 10_000 });
      expect(reply.headers?.get('Nats-Service-Error-Code')).toBe('422');
      expect(reply.headers?.get('Nats-Service-Error')).toContain('amount is 1.5');
      const { error } = (typeof body === 'string' ? reply.json() : plain.unpack(reply.data)) as { error: Value };
      expect(error).toMatchObject({ code: 'invalid_transaction', retryable: false });
    }
  });

  test('takes the last of a key that a JSON object names twice', async () => {
    expect(await json(submit, '{"id":"x","account":"twice","amount":1,"amount":2}')).toMatchObject({
      status: 'stored',
    });
    expect(await json('spill.transactions.get', '{"account":"twice","id":"x"}')).toMatchObject({ amount: '2' });
  });

  test.each(slotVectors())('is told the slot of $account', async ({ account, slot }) => {
    expect(await json('spill.route.explain', JSON.stringify({ account, amount: 1 }))).toMatchObject({ slot });
  });
});
