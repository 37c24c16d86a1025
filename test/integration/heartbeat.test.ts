import { BatchBuilder, Names, ReplyCode, readSubmitReply, writeSubmitRequest } from '@spill/core';
import { connectNats } from '@spill/node';
import { afterEach, expect, test } from 'vitest';
import { readEmbeddedServerFile } from '../../packages/node/dist/nats/embedded-server-file.js';
import { type OwnShard, startOwnShard } from '../support/own-shard.js';
import { startNode, type TestNode } from '../support/spill-node.js';

let node: TestNode | null = null;
let own: OwnShard | null = null;

afterEach(async () => {
  await own?.end();
  await node?.dispose();
});

/** A process of the node's shard 1, in the place of the node's own. */
function ownShardOf(
  { natsUrl, dataDir }: TestNode,
  heartbeat: string,
  onMessage: NonNullable<Parameters<typeof startOwnShard>[0]['onMessage']>,
): Promise<OwnShard> {
  const databaseUrl = 'postgres://nobody@127.0.0.1:1/none';
  return startOwnShard({ natsUrl, dataDir, databaseUrl, shard: 1, flags: { heartbeat }, onMessage });
}

test('a shard sends its heartbeats as often as the setting says', async () => {
  node = await startNode();
  // The node stands still, so that it does not replace the process that the test starts.
  process.kill(node.pid, 'SIGSTOP');
  const heartbeats: number[] = [];
  let enough = (): void => {};
  const tenBeats = new Promise<void>((resolve) => {
    enough = resolve;
  });
  own = await ownShardOf(node, '100 ms', ({ type }) => {
    if (type === 'heartbeat') heartbeats.push(performance.now());
    if (heartbeats.length === 10) enough();
  });
  await tenBeats;
  process.kill(node.pid, 'SIGCONT');
  // One at its start and one when it serves, beside those of the timer.
  expect((heartbeats[9] as number) - (heartbeats[0] as number)).toBeLessThan(5_000);
});

/** Stores one transaction in shard 1. Returns the sequence of its record. */
async function store(natsUrl: string, assignment: number): Promise<number> {
  const nc = await connectNats({ servers: natsUrl, name: 'the test', reconnect: false });
  try {
    const batch = new BatchBuilder();
    batch.add('alice', 'one', 5n, Date.now() * 1_000, true);
    const subject = new Names().shard(1, assignment, 'submit');
    const { data } = await nc.request(subject, writeSubmitRequest(5_000, batch.finish()), { timeout: 5_000 });
    const { code, sequence } = readSubmitReply(data);
    expect(code).toBe(ReplyCode.ok);
    return sequence;
  } finally {
    await nc.close();
  }
}

test('a shard that loses its log tells the last acknowledged record before it ends', async () => {
  node = await startNode();
  process.kill(node.pid, 'SIGSTOP');
  const told: number[] = [];
  let beat = (): void => {};
  own = await ownShardOf(node, '1 s', (message) => {
    if (message.type !== 'heartbeat' || !message.status) return;
    told.push(message.status.sequence);
    beat();
  });
  try {
    await own.serving;
    // From here on there is a second until the next one by itself.
    await new Promise<void>((resolve) => {
      beat = resolve;
    });
    const sequence = await store(node.natsUrl, own.assignment);
    process.kill(readEmbeddedServerFile(node.dataDir)!.pid, 'SIGKILL');
    await own.exit;
    expect(told.at(-1)).toBe(sequence);
  } finally {
    process.kill(node.pid, 'SIGCONT');
  }
});
