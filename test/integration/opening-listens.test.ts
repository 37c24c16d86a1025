import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Names, ReplyCode, readSubmitReply } from '@spill/core';
import { connect, ErrorCode, type NatsConnection, type NatsError } from 'nats';
import { afterEach, expect, test } from 'vitest';
import { startNode, type TestNode } from '../support/spill-node.js';

let node: TestNode;
afterEach(() => node.dispose());

/** Asks as long as nobody listens, 30 s at most. */
async function firstAnswer(nc: NatsConnection, subject: string): Promise<Uint8Array> {
  const end = performance.now() + 30_000;
  for (;;) {
    try {
      return (await nc.request(subject, new Uint8Array(), { timeout: 5_000 })).data;
    } catch (error) {
      const { code } = error as NatsError;
      if (code !== ErrorCode.NoResponders || performance.now() > end) throw error;
    }
  }
}

/**
 * Reading a log back may take longer than `direct_after_ms`. Were nobody to listen meanwhile, routers would take the
 * shard for gone, and the whole load of a hot account would go to its row.
 */
test('a shard listens before it opens its log, and says that it is opening', async () => {
  node = await startNode({ databaseUrl: 'postgres://nobody@127.0.0.1:1/none' });
  expect(await node.stop()).toBe(0);
  // A witness of a record that is not in the log: the opening waits for it, two seconds on a single server.
  const file = join(node.dataDir, 'witness', '1.1.json');
  const line = readFileSync(file, 'ascii');
  const { sequence } = JSON.parse(line) as { sequence: number };
  writeFileSync(file, line.replace(`"sequence":${sequence}`, `"sequence":${sequence + 7}`));

  const restarted = node.restart();
  const nc = await connect({ servers: node.natsUrl, waitOnFirstConnect: true, maxReconnectAttempts: -1 });
  try {
    const reply = readSubmitReply(await firstAnswer(nc, new Names().shard(1, 2, 'submit')));
    expect(reply).toMatchObject({ code: ReplyCode.unavailable, message: 'the shard is opening' });
  } finally {
    await nc.close();
    await restarted;
  }
});
