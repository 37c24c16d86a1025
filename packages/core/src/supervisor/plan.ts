/**
 * Measurements → what to do. Pure and deterministic: the same topology, figures and history give the same plan.
 *
 * Within a pool, a shard above the growth threshold gives slots to the least loaded one, or, where all are busy, to a
 * new shard; a pool whose load fits one shard fewer loses its least loaded shard. Between the two thresholds nothing
 * happens. What evens out is load, not the number of slots: each slot carries its own measured share.
 */
import { POOLS, type Pool } from '../topology/pool.js';
import type { ShardEntry, SlotSpan, Topology } from '../topology/topology.js';

/** What one shard was measured to do, over the last sampling period. */
export interface ShardLoad {
  readonly shard: number;
  /** Fraction of one core. */
  readonly cpu: number;
  /** Fraction of the memory limit. */
  readonly memory: number;
  /** Transactions a second. */
  readonly rate: number;
  /** Transactions a second by slot; slots without traffic may be absent. */
  readonly slotRates: ReadonlyMap<number, number>;
}

export interface PlanSettings {
  readonly growthThreshold: number;
  readonly shrinkThreshold: number;
  readonly coolDownMs: number;
  /** Migrations begun by one plan. */
  readonly movesMax: number;
  readonly shardsMax: number;
}

export interface PlanHistory {
  /** When the last action of a pool was begun; absent: never. Milliseconds on the planner's clock. */
  readonly lastActionMs: ReadonlyMap<Pool, number>;
}

export type PlannedAction =
  | { readonly action: 'create_shard'; readonly pool: Pool; readonly reason: string }
  | { readonly action: 'delete_shard'; readonly pool: Pool; readonly shard: number; readonly reason: string }
  | {
      readonly action: 'move_slots';
      readonly pool: Pool;
      readonly source: number;
      readonly target: number;
      readonly slots: readonly SlotSpan[];
      readonly reason: string;
    };

export interface Plan {
  readonly actions: readonly PlannedAction[];
  /** Why a pool is left alone though one might expect otherwise. */
  readonly notes: readonly string[];
}

export function plan(
  topology: Topology,
  loads: readonly ShardLoad[],
  settings: PlanSettings,
  history: PlanHistory,
  nowMs: number,
): Plan {
  const actions: PlannedAction[] = [];
  const notes: string[] = [];
  const byShard = new Map(loads.map((load) => [load.shard, load]));
  let shards = topology.shards.filter((shard) => shard.state === 'open').length;
  for (const pool of POOLS) {
    const members = topology.shards.filter((shard) => shard.pool === pool && shard.state === 'open');
    const measured = members.flatMap((member) => byShard.get(member.id) ?? []);
    const hindrance = hindranceOf(topology, pool, members, measured, settings, history, nowMs);
    if (hindrance) {
      notes.push(`${pool}: ${hindrance}`);
      continue;
    }
    const action = planPool(topology, pool, measured, settings, shards);
    if (!action) continue;
    if (action.action === 'create_shard') shards += 1;
    actions.push(action);
    if (actions.length === settings.movesMax) break;
  }
  return { actions, notes };
}

/** How busy a shard is: its processor or its memory, whichever is nearer its bound. */
export function busyness(load: ShardLoad): number {
  return Math.max(load.cpu, load.memory);
}

function hindranceOf(
  topology: Topology,
  pool: Pool,
  members: readonly ShardEntry[],
  measured: readonly ShardLoad[],
  settings: PlanSettings,
  history: PlanHistory,
  nowMs: number,
): string | null {
  if (topology.migrations.some((migration) => migration.pool === pool)) return 'slots are moving already';
  if (topology.shards.some((shard) => shard.pool === pool && shard.state === 'closing')) return 'a shard is closing';
  const last = history.lastActionMs.get(pool);
  if (last !== undefined && nowMs - last < settings.coolDownMs) {
    return `cooling down for another ${Math.ceil((settings.coolDownMs - (nowMs - last)) / 1000)} s`;
  }
  // Without a figure for every shard, a quiet one can't be told from a silent one.
  if (measured.length < members.length) return `${members.length - measured.length} of its shards sent no figures`;
  return null;
}

function planPool(
  topology: Topology,
  pool: Pool,
  loads: readonly ShardLoad[],
  settings: PlanSettings,
  shards: number,
): PlannedAction | null {
  const sorted = [...loads].sort((a, b) => busyness(a) - busyness(b) || a.shard - b.shard);
  const quietest = sorted[0];
  const busiest = sorted.at(-1);
  if (!quietest || !busiest) return null;
  const empty = sorted.find((load) => slotsOwned(topology, pool, load.shard).length === 0);
  if (empty) return fill(topology, pool, empty, sorted);
  if (busyness(busiest) > settings.growthThreshold) {
    return grow(topology, pool, quietest, busiest, settings, shards);
  }
  return shrink(pool, sorted, settings);
}

function grow(
  topology: Topology,
  pool: Pool,
  quietest: ShardLoad,
  busiest: ShardLoad,
  settings: PlanSettings,
  shards: number,
): PlannedAction | null {
  const figure = `shard ${busiest.shard} is at ${percent(busyness(busiest))}, above ${percent(settings.growthThreshold)}`;
  const owned = slotsOwned(topology, pool, busiest.shard);
  if (owned.length < 2) return null;
  // Moving may not make the quietest the next busy one: both must end between the thresholds' middle and the top.
  const room = quietest.shard !== busiest.shard && busyness(quietest) < settings.growthThreshold / 2;
  if (!room) {
    // One slot that carries nearly everything can't be divided: another shard would stand idle beside it.
    if (shards >= settings.shardsMax || chooseSlots(owned, busiest, 0.5).length === 0) return null;
    return { action: 'create_shard', pool, reason: `${figure}, and no shard of the pool has room` };
  }
  const gap = (busyness(busiest) - busyness(quietest)) / 2;
  const share = busyness(busiest) === 0 ? 0 : gap / busyness(busiest);
  const slots = chooseSlots(owned, busiest, share);
  if (slots.length === 0) return null;
  return {
    action: 'move_slots',
    pool,
    source: busiest.shard,
    target: quietest.shard,
    slots: toSpans(slots),
    reason: `${figure}; shard ${quietest.shard} is at ${percent(busyness(quietest))} and takes ${slots.length} slots`,
  };
}

/** A shard without slots, just made, takes its share of the pool from the busiest one, never more than half of that. */
function fill(topology: Topology, pool: Pool, empty: ShardLoad, sorted: readonly ShardLoad[]): PlannedAction | null {
  const giving = sorted.filter((load) => load !== empty);
  const slotCount = (load: ShardLoad): number => slotsOwned(topology, pool, load.shard).length;
  const source = giving.sort((a, b) => b.rate - a.rate || slotCount(b) - slotCount(a) || a.shard - b.shard)[0];
  if (!source || slotCount(source) < 2) return null;
  const total = giving.reduce((sum, load) => sum + load.rate, 0);
  const share =
    total > 0 ? total / sorted.length / source.rate : topology.slotCount / sorted.length / slotCount(source);
  const slots = chooseSlots(slotsOwned(topology, pool, source.shard), source, Math.min(0.5, share));
  if (slots.length === 0) return null;
  return {
    action: 'move_slots',
    pool,
    source: source.shard,
    target: empty.shard,
    slots: toSpans(slots),
    reason: `shard ${empty.shard} has no slots yet and takes ${slots.length} of shard ${source.shard}'s`,
  };
}

function shrink(pool: Pool, sorted: readonly ShardLoad[], settings: PlanSettings): PlannedAction | null {
  if (sorted.length < 2) return null;
  const quietest = sorted[0] as ShardLoad;
  if (busyness(quietest) >= settings.shrinkThreshold) return null;
  // The others take its load; they must stay well below growing again, or the pool would swing.
  const others = sorted.slice(1);
  const total = sorted.reduce((sum, load) => sum + busyness(load), 0);
  const after = total / others.length;
  const ceiling = (settings.shrinkThreshold + settings.growthThreshold) / 2;
  if (after >= ceiling || others.some((load) => busyness(load) >= ceiling)) return null;
  return {
    action: 'delete_shard',
    pool,
    shard: quietest.shard,
    reason:
      `shard ${quietest.shard} is at ${percent(busyness(quietest))}, below ${percent(settings.shrinkThreshold)}; ` +
      `the other ${others.length} would be at ${percent(after)} on average`,
  };
}

/**
 * Slots that carry about `share` of the shard's traffic: the heaviest first, each where it still fits, so that few
 * move. Where nothing is known of single slots, that share of their number. Never all of them.
 */
function chooseSlots(owned: readonly number[], load: ShardLoad, share: number): number[] {
  const rates = owned.map((slot) => ({ slot, rate: load.slotRates.get(slot) ?? 0 }));
  const total = rates.reduce((sum, { rate }) => sum + rate, 0);
  const most = owned.length - 1;
  if (total === 0) return owned.slice(0, Math.min(most, Math.max(1, Math.floor(owned.length * share))));
  rates.sort((a, b) => b.rate - a.rate || a.slot - b.slot);
  const chosen: number[] = [];
  let left = total * share;
  for (const { slot, rate } of rates) {
    if (chosen.length === most || rate === 0) break;
    if (rate > left) continue;
    chosen.push(slot);
    left -= rate;
  }
  return chosen.sort((a, b) => a - b);
}

function slotsOwned(topology: Topology, pool: Pool, shard: number): number[] {
  const slots: number[] = [];
  for (const range of topology.owners[pool]) {
    if (range.shard === shard) for (let slot = range.from; slot < range.to; slot++) slots.push(slot);
  }
  return slots;
}

function toSpans(slots: readonly number[]): SlotSpan[] {
  const spans: { from: number; to: number }[] = [];
  for (const slot of slots) {
    const last = spans.at(-1);
    if (last?.to === slot) last.to = slot + 1;
    else spans.push({ from: slot, to: slot + 1 });
  }
  return spans;
}

function percent(fraction: number): string {
  return `${Math.round(fraction * 100)} %`;
}
