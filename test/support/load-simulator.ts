/**
 * A cluster as the planner sees it: shards whose processors and memory follow the traffic of the slots that they own.
 * Moving a slot moves its traffic. The topology is changed by the very functions that the supervisor uses.
 */
import {
  addShard,
  beginClosing,
  beginMigration,
  commitMigration,
  markClosed,
  markRetired,
  ownedSpans,
  type Plan,
  type PlannedAction,
  type PlanSettings,
  type Pool,
  plan,
  removeDrained,
  removeMigration,
  type ShardLoad,
  SLOT_COUNT,
  slotsOf,
  type Topology,
} from '@spill/core';
import { Random } from './random.js';
import { topologyOf } from './random-topology.js';

/** Transactions a second of each slot, in shards' whole cores: 0.5 takes half a core. */
export type Demand = Readonly<Partial<Record<Pool, Float64Array>>>;

export interface SimulatorOptions {
  readonly shardCount: number;
  readonly settings: PlanSettings;
  readonly seed: number;
  /** Figures are off by up to this fraction. */
  readonly noise: number;
  /** Fraction of the limit that a shard's memory takes at a full core; once taken, it is never given back. */
  readonly memoryAtFull?: number;
  readonly roundMs?: number;
}

const TRANSACTIONS_PER_CORE = 30_000;
const IDLE_CPU = 0.01;
const IDLE_MEMORY = 0.05;
const SLOTS_SHOWN = 128;
const MIGRATION_MS = 3_000;

export interface Taken {
  readonly atMs: number;
  readonly action: PlannedAction;
}

export class LoadSimulator {
  topology: Topology;
  nowMs = 0;
  readonly taken: Taken[] = [];
  /** How often each slot was moved. */
  readonly moves: Readonly<Record<Pool, Uint32Array>> = {
    credit: new Uint32Array(SLOT_COUNT),
    debit: new Uint32Array(SLOT_COUNT),
    large: new Uint32Array(SLOT_COUNT),
  };
  private readonly random: Random;
  private readonly lastActionMs = new Map<Pool, number>();
  private readonly migrationsBegun = new Map<number, number>();
  private readonly memory = new Map<number, number>();

  constructor(private readonly options: SimulatorOptions) {
    this.topology = topologyOf(options.shardCount, 1_000_000n);
    this.random = new Random(options.seed);
  }

  open(pool: Pool): number[] {
    return this.topology.shards.filter((shard) => shard.pool === pool && shard.state === 'open').map(({ id }) => id);
  }

  /** What a shard's slots ask for, in cores; may be more than it can do. */
  demanded(shard: number, pool: Pool, demand: Demand): number {
    const slots = demand[pool];
    if (!slots) return 0;
    let sum = 0;
    for (const range of this.topology.owners[pool]) {
      if (range.shard !== shard) continue;
      for (let slot = range.from; slot < range.to; slot++) sum += slots[slot] as number;
    }
    return sum;
  }

  /** One round: what is under way goes on, everything is measured, a plan is made and carried out. */
  round(demand: Demand): Plan {
    const { roundMs = 5_000, settings } = this.options;
    this.nowMs += roundMs;
    this.keep();
    const history = { lastActionMs: this.lastActionMs };
    const planned = plan(this.topology, this.measure(demand), settings, history, this.nowMs);
    for (const action of planned.actions) this.act(action);
    return planned;
  }

  run(demand: (ms: number) => Demand, ms: number, eachRound: (planned: Plan) => void = () => {}): void {
    const end = this.nowMs + ms;
    while (this.nowMs < end) eachRound(this.round(demand(this.nowMs)));
  }

  measure(demand: Demand): ShardLoad[] {
    return this.topology.shards
      .filter(({ state }) => state === 'open' || state === 'closing')
      .map(({ id, pool }) => this.measureShard(id, pool, demand[pool]));
  }

  private measureShard(shard: number, pool: Pool, demand: Float64Array | undefined): ShardLoad {
    const spans = ownedSpans(this.topology, pool, shard);
    const asked: [number, number][] = [];
    let sum = 0;
    for (const slot of slotsOf(spans)) {
      const cores = demand?.[slot] ?? 0;
      if (cores > 0) asked.push([slot, cores]);
      sum += cores;
    }
    // One process has one core; what it can't do waits.
    const done = Math.min(1, sum);
    const scale = sum > 0 ? (done / sum) * TRANSACTIONS_PER_CORE : 0;
    const hot = asked.sort((a, b) => b[1] - a[1]).slice(0, SLOTS_SHOWN);
    const memory = Math.max(this.memory.get(shard) ?? 0, IDLE_MEMORY + (this.options.memoryAtFull ?? 0) * done);
    this.memory.set(shard, memory);
    return {
      shard,
      cpu: this.noisy(Math.min(1, IDLE_CPU + done)),
      memory,
      rate: Math.round(this.noisy(done * TRANSACTIONS_PER_CORE)),
      slotRates: new Map(hot.map(([slot, cores]) => [slot, Math.round(this.noisy(cores * scale))])),
    };
  }

  private noisy(value: number): number {
    return value * (1 + this.options.noise * (2 * this.random.next() - 1));
  }

  private act(action: PlannedAction): void {
    this.taken.push({ atMs: this.nowMs, action });
    this.lastActionMs.set(action.pool, this.nowMs);
    const { pool } = action;
    switch (action.action) {
      case 'create_shard': {
        const id = this.topology.nextShard;
        this.topology = addShard(this.topology, { id, pool, node: 'node-a', logId: 'a'.repeat(32), replicas: 1 });
        break;
      }
      case 'delete_shard':
        this.topology = beginClosing(this.topology, action.shard);
        break;
      case 'move_slots':
        this.begin(pool, action.source, action.target, [...action.slots]);
        break;
    }
  }

  private begin(pool: Pool, source: number, target: number, slots: { from: number; to: number }[]): void {
    this.migrationsBegun.set(this.topology.nextMigration, this.nowMs);
    this.topology = beginMigration(this.topology, { pool, source, target, slots });
    for (const slot of slotsOf(slots)) this.moves[pool][slot] = (this.moves[pool][slot] as number) + 1;
  }

  /** Migrations end after a while, and closing shards are led to their end: as the topology's keeper does it. */
  private keep(): void {
    for (const { id, source } of this.topology.migrations) {
      if (this.nowMs - (this.migrationsBegun.get(id) as number) < MIGRATION_MS) continue;
      this.topology = commitMigration(this.topology, id, 1);
      this.topology = removeMigration(this.topology, id) ?? this.topology;
      this.topology = removeDrained(this.topology, source, 1) ?? this.topology;
    }
    for (const { id, pool, state } of this.topology.shards) {
      if (state !== 'closing' || this.topology.migrations.some(({ source }) => source === id)) continue;
      const slots = ownedSpans(this.topology, pool, id);
      if (slots.length > 0) {
        const size = (shard: number): number => [...slotsOf(ownedSpans(this.topology, pool, shard))].length;
        const [target] = this.open(pool).sort((a, b) => size(a) - size(b) || a - b);
        this.begin(pool, id, target as number, slots);
      } else {
        this.topology = markClosed(this.topology, id, 2) ?? this.topology;
        this.topology = markRetired(this.topology, id, 'then') ?? this.topology;
      }
    }
  }
}
