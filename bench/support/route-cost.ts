import { holdersOf, POOLS, type Pool, RouteTable, routeTransaction, SLOT_COUNT, type Topology } from '@spill/core';

export interface RouteCost {
  readonly shardsAPool: number;
  readonly draining: number;
  /** Nanoseconds a transaction: what router and SDK do for each, the account's slot being remembered. */
  readonly routeNs: number;
  /** Nanoseconds: the same from the document alone, as `spill.route.explain` does. */
  readonly explainNs: number;
  /** Microseconds: what router and SDK do once for each new topology. */
  readonly tableUs: number;
  /** Microseconds: which shards a read has to ask. */
  readonly holdersUs: number;
}

const SHARDS = [1, 16, 64];
const DRAINING = [0, 20];
const ROUNDS = 15;

/** Routing by topologies of more and more shards, without and with slots that have just moved. */
export function routeCosts(): RouteCost[] {
  return SHARDS.flatMap((shardsAPool) => DRAINING.map((draining) => routeCost(shardsAPool, draining)));
}

function routeCost(shardsAPool: number, draining: number): RouteCost {
  const topology = topologyOf(shardsAPool, draining);
  const table = new RouteTable(topology);
  const amounts = [5n, -5n, 2_000_000n];
  let sum = 0;
  const routeNs = best(300_000, (i) => {
    sum += table.shardFor((i * 389) % SLOT_COUNT, amounts[i % 3] as bigint);
  });
  const explainNs = best(30_000, (i) => {
    sum += routeTransaction(topology, 'an account', amounts[i % 3] as bigint, (i * 389) % SLOT_COUNT).shard.id;
  });
  const tableNs = best(200, () => {
    sum += new RouteTable(topology).shardFor(0, 5n);
  });
  const holdersNs = best(5_000, (i) => {
    sum += holdersOf(topology, (i * 389) % SLOT_COUNT).length;
  });
  if (!(sum > 0)) throw new Error('nothing was routed');
  return {
    shardsAPool,
    draining,
    routeNs: round(routeNs),
    explainNs: round(explainNs),
    tableUs: round(tableNs / 1_000),
    holdersUs: round(holdersNs / 1_000),
  };
}

/** Nanoseconds a call in the best of some rounds: the others were disturbed. */
function best(calls: number, call: (i: number) => void): number {
  let least = Number.POSITIVE_INFINITY;
  for (let round = 0; round < ROUNDS; round++) {
    const began = performance.now();
    for (let i = 0; i < calls; i++) call(i);
    least = Math.min(least, performance.now() - began);
  }
  return (least * 1e6) / calls;
}

function round(value: number): number {
  return Math.round(value * 10) / 10;
}

/** Slots are dealt out one by one, which makes as many ranges as there can be. */
function topologyOf(shardsAPool: number, draining: number): Topology {
  const shardOfSlot = (pool: number, slot: number): number => 1 + pool + POOLS.length * (slot % shardsAPool);
  const owners = Object.fromEntries(
    POOLS.map((pool, number) => [
      pool,
      Array.from({ length: SLOT_COUNT }, (_, slot) => ({ from: slot, to: slot + 1, shard: shardOfSlot(number, slot) })),
    ]),
  ) as unknown as Topology['owners'];
  return {
    format: 1,
    epoch: 1,
    hash: 'xxh64',
    slotCount: SLOT_COUNT,
    largeThreshold: '1000000',
    accountType: 'text',
    secret: '00'.repeat(32),
    nextShard: 1 + POOLS.length * shardsAPool,
    nextMigration: 1,
    nodes: [{ name: 'a', labels: {}, since: '2026-01-01T00:00:00Z' }],
    shards: Array.from({ length: POOLS.length * shardsAPool }, (_, i) => ({
      id: i + 1,
      pool: POOLS[i % POOLS.length] as Pool,
      node: 'a',
      assignment: 1,
      state: 'open' as const,
      logId: '00'.repeat(16),
      replicas: 1,
    })),
    owners,
    draining: Array.from({ length: draining }, (_, i) => ({
      shard: 1,
      pool: 'credit' as const,
      slots: [{ from: i * 40, to: i * 40 + 40 }],
      sealedSequence: 10,
    })),
    migrations: [],
  };
}
