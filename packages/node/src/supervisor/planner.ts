import {
  beginMigration,
  type Names,
  type Placement,
  type Plan,
  type PlannedAction,
  type PlanSettings,
  type Pool,
  plan,
  removeNode,
  type ShardLoad,
  SpillError,
  TopologyConflictError,
} from '@spill/core';
import type { ActionReply } from '../client/operator-replies.js';
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
/** Actions looked at for the last one of each pool. */
const RECALLED = 20;

/** Measures, plans and acts, while this node's supervisor is the active one; and at an operator's request. */
export class Planner {
  private readonly lastActionMs = new Map<Pool, number>();
  /** Whether this node has been the active one since it last asked what others did. */
  private recalled = false;
  private timer: NodeJS.Timeout | null = null;
  private round: Promise<unknown> | null = null;

  constructor(private readonly options: PlannerOptions) {}

  start(): void {
    this.timer = setInterval(() => {
      if (!this.options.active()) {
        this.recalled = false;
        return;
      }
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
    await this.recall();
    const performance = await askPerformance(requesterOf(nc), names, topology);
    const loads = loadsOf(performance, this.options.memoryBytesMax);
    // What moving itself takes of a core is no load: the figures are waited for until it is over.
    for (const { pool } of topology.migrations) this.lastActionMs.set(pool, Date.now());
    const planned = plan(topology, loads, settings, { lastActionMs: this.lastActionMs }, Date.now());
    if (!dryRun) for (const action of planned.actions) await this.act(action, loads, by);
    return planned;
  }

  /** A pool cools down from what any node has done, before a failover or asked of one that is not the active one. */
  private async recall(): Promise<void> {
    const active = this.options.active();
    if (!this.recalled || !active) {
      for (const { at, action, figures } of await this.options.actions.list(RECALLED)) {
        // What was planned has figures; a shard that somebody asked for is filled at once.
        if (!('pool' in action) || figures.length === 0) continue;
        this.lastActionMs.set(action.pool, Math.max(Date.parse(at), this.lastActionMs.get(action.pool) ?? 0));
      }
    }
    this.recalled = active;
    // A clock that was put back: what seems to come from later is no older than now.
    for (const [pool, ms] of this.lastActionMs) this.lastActionMs.set(pool, Math.min(ms, Date.now()));
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
    const { pool, state } = await deleteShard(this.options.topology, shard);
    await this.record({ action: 'delete_shard', pool, shard, reason: 'it was asked for' }, [], by);
    return state;
  }

  /** Takes a node that is silent and has no shards out of the topology. @throws SpillError `conflict` */
  async removeNode(node: string, by: string): Promise<void> {
    try {
      await this.options.topology.change((newest) => {
        const removed = removeNode(newest, node);
        if (!this.options.placement().alive.has(node)) return removed;
        throw new TopologyConflictError(
          `node ${node} can't be removed: it was heard of lately. Stop it first; it is forgotten some seconds later`,
        );
      });
    } catch (error) {
      if (error instanceof TopologyConflictError) throw new SpillError('conflict', error.message, { cause: error });
      throw error;
    }
    await this.record({ action: 'remove_node', node, reason: 'it was asked for' }, [], by);
  }

  /** What was done stays done where it can't be put on record just now: who asked for it is not told that it failed. */
  private async record(action: ActionReply, loads: readonly ShardLoad[], by: string): Promise<void> {
    const figures = loads.map(({ shard, cpu, memory, rate }) => ({ shard, cpu, memory, rate }));
    try {
      await this.options.actions.add({ at: new Date().toISOString(), by, action, figures });
    } catch (error) {
      this.options.log(`${action.action} could not be put on record: ${(error as Error).message}`);
    }
  }

  private async act(action: PlannedAction, loads: readonly ShardLoad[], by: string): Promise<void> {
    const { nc, names, topology, dedupeWindowMs, placement } = this.options;
    this.lastActionMs.set(action.pool, Date.now());
    this.options.log(`${action.action} in ${action.pool}: ${action.reason}`);
    let done: ActionReply = action;
    try {
      switch (action.action) {
        case 'create_shard': {
          const { pool } = action;
          const shard = await createShard({ nc, names, topology, pool, node: null, placement, dedupeWindowMs });
          done = { ...action, shard };
          break;
        }
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
      return;
    }
    await this.record(done, loads, by);
  }
}
