import { requesterOf } from '@spill/node';
import type { NatsConnection } from 'nats';
import { expect, test } from 'vitest';

type Requests = Pick<NatsConnection, 'status' | 'request'>;

test('a connection is followed once, however often somebody asks through it', async () => {
  let followed = 0;
  const nc = {
    status: () => {
      followed += 1;
      return (async function* () {})();
    },
    request: async () => ({ data: new Uint8Array([7]), headers: undefined }),
  } as unknown as Requests as NatsConnection;
  for (let i = 0; i < 3; i++) {
    expect(await requesterOf(nc)('subject', new Uint8Array(), { timeoutMs: 10 })).toMatchObject({ outcome: 'answer' });
  }
  expect(followed).toBe(1);
});
