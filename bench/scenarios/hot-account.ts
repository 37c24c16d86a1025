import { fsyncPeer } from '../peers/fsync.js';
import { jetStreamPeer } from '../peers/jetstream.js';
import { natsEchoPeer } from '../peers/nats-echo.js';
import { figuresOf, partsOf } from '../peers/peer.js';
import { pgbenchPeers } from '../peers/pgbench.js';
import { redisPeer } from '../peers/redis.js';
import { tigerBeetlePeer } from '../peers/tigerbeetle.js';
import type { Run, Scenario, ScenarioResult } from '../scenario.js';
import { type Bed, withBed } from '../support/bed.js';
import { inRounds, type Part } from '../support/rounds.js';
import { Transactions } from '../support/transactions.js';

const ROUNDS = 5;
const WARM_UP = 300_000;
const BURSTS = [
  { id: 'hot-8192', size: 8_192, inFlight: 8, total: 1_600_000 },
  { id: 'hot-1000', size: 1_000, inFlight: 16, total: 1_200_000 },
] as const;

/** One hot account through the SDK, and all that a user would take instead, in turn. */
export const hotAccount: Scenario = {
  name: 'hot-account',
  seconds: 90,
  run: (run) => withBed({}, (bed) => on(bed, run)),
};

async function on(bed: Bed, run: Run): Promise<ScenarioResult> {
  const transactions = new Transactions('h');
  const peers = [
    ...pgbenchPeers(bed.databaseUrl),
    await jetStreamPeer(bed.node.natsUrl),
    await redisPeer(),
    await tigerBeetlePeer(),
    await natsEchoPeer(bed.node.natsUrl),
    fsyncPeer(bed.node.natsUrl, 'SPILL_1', bed.node.dataDir, () => bed.acknowledged.count),
  ];
  const spillParts = BURSTS.map(({ id, size, inFlight, total }): Part => {
    const burst = (count: number) => bed.burst(transactions.batches(count, size), inFlight);
    return { name: id, warmUp: () => burst(WARM_UP), measure: () => burst(total) };
  });
  try {
    const measured = await inRounds(run, bed, ROUNDS, [...spillParts, ...partsOf(peers)]);
    run.says('comparing rows, ledger and log');
    return {
      figures: BURSTS.map(({ id }) => {
        const { median, values } = measured.get(id)!;
        const { value, p50Ms = 0, p99Ms = 0 } = median;
        const detail = `a request takes ${p50Ms.toFixed(1)} ms, 99 % at most ${p99Ms.toFixed(1)} ms`;
        return { id, value, perSecond: value, detail, rounds: values };
      }),
      peers: figuresOf(peers, measured),
      sizes: { rounds: ROUNDS, ...Object.fromEntries(BURSTS.map(({ id, total }) => [id, total])) },
      checked: [await bed.check()],
    };
  } finally {
    for (const peer of peers) await peer.close();
  }
}
