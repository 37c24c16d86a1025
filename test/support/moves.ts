import { setTimeout as delay } from 'node:timers/promises';
import {
  beginMigration,
  Names,
  POOLS,
  type Pool,
  type SlotSpan,
  type Topology,
  TopologyConflictError,
} from '@spill/core';
import { connectNats, TopologyStore } from '@spill/node';
import { NatsError } from 'nats';
import { until } from './fault.js';

const TELLS_MS = 30_000;

/** A server that was just healed, and through which a client may be connected, can't tell for some seconds. */
async function onceTold<T>(ask: () => Promise<T>): Promise<T> {
  const end = performance.now() + TELLS_MS;
  for (;;) {
    try {
      return await ask();
    } catch (error) {
      if (!(error instanceof NatsError) || performance.now() > end) throw error;
    }
    await delay(100);
  }
}

/** Operator's hands on a cluster's topology: begins migrations and waits for their ends. */
export class Moves {
  private constructor(
    private readonly store: TopologyStore,
    private readonly nc: Awaited<ReturnType<typeof connectNats>>,
  ) {}

  static async on(natsUrl: string): Promise<Moves> {
    const nc = await connectNats({ servers: natsUrl.split(','), name: 'test moves', reconnect: true });
    return new Moves(await onceTold(() => TopologyStore.open(nc, new Names(), { create: false })), nc);
  }

  topology(): Promise<Topology> {
    return onceTold(async () => (await this.store.require()).topology);
  }

  /** A second shard in a pool. */
  async createShard(pool: Pool): Promise<number> {
    const reply = await this.nc.request('spill.supervisor.create_shard', JSON.stringify({ pool }), { timeout: 20_000 });
    const { shard } = reply.json<{ shard?: number }>();
    if (!shard) throw new Error(`no shard was made: ${reply.string()}`);
    await until(`shard ${shard} to serve`, async () => {
      const entry = (await this.topology()).shards.find(({ id }) => id === shard);
      return (entry?.assignment ?? 0) > 0;
    });
    return shard;
  }

  async deleteShard(shard: number): Promise<string> {
    const reply = await this.nc.request('spill.supervisor.delete_shard', JSON.stringify({ shard }), {
      timeout: 20_000,
    });
    return reply.json<{ state: string }>().state;
  }

  /**
   * Begins to move slots to `target`, from whichever one shard owns the most of the pool's slots besides it; after what the
   * cluster's own planner moves just then.
   */
  async begin(pool: Pool, target: number, slots?: readonly SlotSpan[]): Promise<number> {
    let id = 0;
    await until('nothing else to move', async () => {
      try {
        id = await this.tryToBegin(pool, target, slots);
      } catch (error) {
        if (!(error instanceof TopologyConflictError)) throw error;
      }
      return id > 0;
    });
    return id;
  }

  private async tryToBegin(pool: Pool, target: number, slots?: readonly SlotSpan[]): Promise<number> {
    let id = 0;
    await this.store.change((topology) => {
      id = topology.nextMigration;
      const source = ownerOfMost(topology, pool, target);
      const owned = topology.owners[pool].filter(({ shard }) => shard === source).map(({ from, to }) => ({ from, to }));
      return beginMigration(topology, { pool, source, target, slots: slots ?? owned });
    });
    return id;
  }

  /** Resolves when the migration has left the topology, with whether its slots are the target's. */
  async ended(id: number, pool: Pool, target: number, waitMs = 60_000): Promise<boolean> {
    await until(
      `migration ${id} to end`,
      async () => !(await this.topology()).migrations.some((m) => m.id === id),
      waitMs,
    );
    return (await this.topology()).owners[pool].some(({ shard }) => shard === target);
  }

  /** Every slot of every pool has one owner that is open, and nothing is on its way any more. */
  async settled(waitMs = 60_000): Promise<Topology> {
    await until(
      'migrations and draining entries to go',
      async () => {
        const { migrations, draining } = await this.topology();
        return migrations.length === 0 && draining.length === 0;
      },
      waitMs,
    );
    const topology = await this.topology();
    for (const pool of POOLS) {
      let next = 0;
      for (const { from, to, shard } of topology.owners[pool]) {
        if (from !== next) throw new Error(`slots ${next} to ${from} of ${pool} have no owner`);
        if (topology.shards.find(({ id }) => id === shard)?.state !== 'open') {
          throw new Error(`slots ${from} to ${to} of ${pool} are owned by shard ${shard}, which is not open`);
        }
        next = to;
      }
      if (next !== 1024) throw new Error(`slots ${next} to 1024 of ${pool} have no owner`);
    }
    return topology;
  }

  async close(): Promise<void> {
    await this.nc.close();
  }
}

function ownerOfMost(topology: Topology, pool: Pool, besides: number): number {
  const slots = new Map<number, number>();
  for (const { from, to, shard } of topology.owners[pool]) {
    if (shard !== besides) slots.set(shard, (slots.get(shard) ?? 0) + to - from);
  }
  const [most] = [...slots].sort((a, b) => b[1] - a[1]);
  if (!most) throw new Error(`no shard of ${pool} besides ${besides} owns slots`);
  return most[0];
}
