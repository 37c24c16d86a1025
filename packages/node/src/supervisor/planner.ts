import {
  beginMigration,
  type Names,
  type Placement,
  type Plan,
  type PlannedAction,
  type PlanSettings,
  type Pool,
  plan,
  type ShardLoad,
  SpillError,
  shardOf,
  TopologyConflictError,
} from '@spill/core';
import type { ActionStore } from '../nats/action-store.js';
import type { NatsConnection } from '../nats/connect.js';
import { requesterOf } from '../nats/request.js';
import type { TopologyStore } from '../nats/topology-store.js';
import { createShard } from './create-shard.js';
import { deleteShard } from './delete-shard.js';
import { askPerformance, loadsOf } from './performance.js';

export interface PlannerOptions {
  readonly nc: NatsConnection;
  readonly names: Names;
  readonly topology: TopologyStore;
  readonly actions: ActionStore;
  readonly settings: PlanSettings;
  readonly memoryBytesMax: number;
  readonly dedupeWindowMs: number;
  readonly placement: () => Placement;
  readonly node: string;
  readonly active: () => boolean;
  readonly log: (message: string) => void;
}

const ROUND_MS = 5_000;

/** Measures, plans and acts, while this node's supervisor is the active one; and at an operator's request. */
export class Planner {
  private readonly lastActionMs = new Map<Pool, number>();
  private timer: NodeJS.Timeout | null = null;
  private round: Promise<unknown> | null = null;

  constructor(private readonly options: PlannerOptions) {}

  start(): void {
    this.timer = setInterval(() => {
      if (!this.options.active()) return;
      this.round ??= this.rebalance(false, `the supervisor on ${this.options.node}`)
        .catch((error: Error) => this.options.log(`no plan could be made: ${error.message}`))
        .finally(() => {
          this.round = null;
        });
    }, ROUND_MS);
  }

  async stop(): Promise<void> {
    if (this.timer) clearInterval(this.timer);
    await this.round;
  }

  /** The plan for what was measured just now; carried out unless `dryRun`. */
  async rebalance(dryRun: boolean, by: string): Promise<Plan> {
    const { topology: store, nc, names, settings } = this.options;
    const { topology } = await store.require();
    const performance = await askPerformance(requesterOf(nc), names, topology);
    const loads = loadsOf(performance, this.options.memoryBytesMax);
    const planned = plan(topology, loads, settings, { lastActionMs: this.lastActionMs }, Date.now());
    if (!dryRun) for (const action of planned.actions) await this.act(action, loads, by);
    return planned;
  }

  /** @throws SpillError */
  async createShard({ pool, node }: { pool: Pool; node: string | null }, by: string): Promise<number> {
    const { nc, names, topology, dedupeWindowMs, placement } = this.options;
    const shard = await createShard({ nc, names, topology, pool, node, placement, dedupeWindowMs });
    await this.record({ action: 'create_shard', pool, shard, reason: 'it was asked for' }, [], by);
    return shard;
  }

  /** Resolves with the state it is in. @throws SpillError */
  async deleteShard(shard: number, by: string): Promise<string> {
    const state = await deleteShard(this.options.topology, shard);
    const { topology } = await this.options.topology.require();
    const pool = shardOf(topology, shard)?.pool;
    await this.record({ action: 'delete_shard', pool, shard, reason: 'it was asked for' }, [], by);
    return state;
  }

  private async record(action: Record<string, unknown>, loads: readonly ShardLoad[], by: string): Promise<void> {
    const figures = loads.map(({ shard, cpu, memory, rate }) => ({ shard, cpu, memory, rate }));
    await this.options.actions.add({ at: new Date().toISOString(), by, action, figures });
  }

  private async act(action: PlannedAction, loads: readonly ShardLoad[], by: string): Promise<void> {
    const { nc, names, topology, dedupeWindowMs, placement } = this.options;
    this.lastActionMs.set(action.pool, Date.now());
    this.options.log(`${action.action} in ${action.pool}: ${action.reason}`);
    await this.record({ ...action }, loads, by);
    try {
      switch (action.action) {
        case 'create_shard':
          await createShard({ nc, names, topology, pool: action.pool, node: null, placement, dedupeWindowMs });
          break;
        case 'delete_shard':
          await deleteShard(topology, action.shard);
          break;
        case 'move_slots': {
          const { pool, source, target, slots } = action;
          await topology.change((newest) => beginMigration(newest, { pool, source, target, slots }));
          break;
        }
      }
    } catch (error) {
      // The topology has changed since it was planned: the next round plans anew.
      if (!(error instanceof TopologyConflictError || error instanceof SpillError)) throw error;
      this.options.log(`${action.action} in ${action.pool} was not possible any more: ${error.message}`);
    }
  }
}
