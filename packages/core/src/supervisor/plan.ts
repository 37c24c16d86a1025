/**
 * Measurements → what to do. Pure and deterministic: the same topology, figures and history give the same plan.
 *
 * Within a pool, a shard above the growth threshold gives slots to the least loaded one, or, where all are busy, to a
 * new shard; a pool whose load fits one shard fewer loses its least loaded shard. Between the two thresholds nothing
 * happens. What evens out is load, not the number of slots: each slot carries its own measured share.
 *
 * What can't be helped is left alone: a slot that is too hot for any shard, memory that stays though its load has gone.
 */
import { POOLS, type Pool } from '../topology/pool.js';
import { SLOT_COUNT } from '../topology/slot.js';
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
  /** Transactions a second of the heaviest slots; of the others only `rate` is known. */
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
  const members = loads
    .map((load): Member => ({ ...load, busy: busyness(load), owned: slotsOwned(topology, pool, load.shard) }))
    .sort((a, b) => a.busy - b.busy || a.shard - b.shard);
  const empty = members.find(({ owned }) => owned.length === 0);
  const filled = empty && fill(pool, empty, members);
  if (filled) return filled;
  const tooBusy = members.filter(({ busy }) => busy > settings.growthThreshold).reverse();
  // The busiest may be one that nothing can relieve: a single slot carries it. The others are not to wait for it.
  for (const busiest of tooBusy) {
    const action = relieve(pool, busiest, members, settings, shards);
    if (action) return action;
  }
  return tooBusy.length > 0 ? null : shrink(pool, members, settings);
}

interface Member extends ShardLoad {
  readonly busy: number;
  readonly owned: readonly number[];
}

/** A move or a new shard must take at least this share of the traffic of the one that gives: less is not worth it. */
const SHARE_MIN = 0.1;
/** A new shard is made only for what it can surely take at its first filling, though figures differ a little by then. */
const SHARE_NEW = 0.45;

function relieve(
  pool: Pool,
  busiest: Member,
  members: readonly Member[],
  settings: PlanSettings,
  shards: number,
): PlannedAction | null {
  const { growthThreshold, shardsMax } = settings;
  const figure = `shard ${busiest.shard} is at ${percent(busiest.busy)}, above ${percent(growthThreshold)}`;
  const quietest = members.find((member) => member !== busiest);
  const byMemory = busiest.cpu <= growthThreshold;
  if (quietest && quietest.busy < growthThreshold / 2) {
    // Memory follows its load only after a while, or never: what can be evened out at once is the traffic.
    const share = byMemory ? gapShare(busiest.rate, quietest.rate) : gapShare(busiest.busy, quietest.busy);
    const slots = chooseSlots(busiest, share, members.length);
    if (slots.length > 0) {
      return {
        action: 'move_slots',
        pool,
        source: busiest.shard,
        target: quietest.shard,
        slots: toSpans(slots),
        reason: `${figure}; shard ${quietest.shard} is at ${percent(quietest.busy)} and takes ${slots.length} slots`,
      };
    }
  }
  if (shards >= shardsMax) return null;
  const memory = members.reduce((sum, member) => sum + member.memory, 0) / members.length;
  if (byMemory && memory <= growthThreshold) return null;
  // One slot that carries nearly everything can't be divided: another shard would stand idle beside it.
  if (chooseSlots(busiest, SHARE_NEW, members.length + 1).length === 0) return null;
  return { action: 'create_shard', pool, reason: `${figure}, and no shard of the pool has room for a part of it` };
}

/** The share of the greater one that makes both alike. */
function gapShare(greater: number, smaller: number): number {
  return greater > 0 ? (greater - smaller) / 2 / greater : 0;
}

/** A shard without slots, just made, takes its share of the pool from the one with most traffic, at most half of that. */
function fill(pool: Pool, empty: Member, members: readonly Member[]): PlannedAction | null {
  const giving = members
    .filter((member) => member !== empty)
    .sort((a, b) => b.rate - a.rate || b.owned.length - a.owned.length || a.shard - b.shard);
  const source = giving[0];
  if (!source) return null;
  const total = giving.reduce((sum, { rate }) => sum + rate, 0);
  const fair = total > 0 ? total / members.length / source.rate : SLOT_COUNT / members.length / source.owned.length;
  const half = Math.min(0.5, fair);
  const chosen = chooseSlots(source, half, members.length);
  const slots = chosen.length > 0 ? chosen : chooseSlots(source, 0.5, members.length);
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

function shrink(pool: Pool, members: readonly Member[], settings: PlanSettings): PlannedAction | null {
  const { growthThreshold, shrinkThreshold } = settings;
  const [quietest, ...others] = members;
  if (!quietest || others.length === 0 || quietest.busy >= shrinkThreshold) return null;
  // The others take its load, any one of them perhaps all of it; they must stay well below growing again, or the pool
  // would swing.
  const ceiling = (shrinkThreshold + growthThreshold) / 2;
  const heaviest = Math.max(...others.map(({ busy }) => busy));
  const after = members.reduce((sum, { busy }) => sum + busy, 0) / others.length;
  if (after >= ceiling || heaviest >= ceiling || heaviest + quietest.busy > growthThreshold * SWING_MARGIN) return null;
  return {
    action: 'delete_shard',
    pool,
    shard: quietest.shard,
    reason:
      `shard ${quietest.shard} is at ${percent(quietest.busy)}, below ${percent(shrinkThreshold)}; ` +
      `the other ${others.length} would be at ${percent(after)} on average`,
  };
}

const SWING_MARGIN = 0.95;

/**
 * Slots that carry about `share` of the shard's traffic and not more: the heaviest first, each where it still fits, so
 * that few move; none where they would carry hardly anything. Never all of them, nor more than the share of the pool's
 * slots that one of `shards` would have. Only the heaviest slots are measured one by one; the others share what is left
 * of the shard's traffic alike.
 */
function chooseSlots({ owned, rate, slotRates }: Member, share: number, shards: number): number[] {
  const most = Math.min(owned.length - 1, Math.ceil(SLOT_COUNT / shards));
  const measured = owned.reduce((sum, slot) => sum + (slotRates.get(slot) ?? 0), 0);
  const unmeasured = owned.filter((slot) => !slotRates.has(slot)).length;
  const each = unmeasured > 0 ? Math.max(0, rate - measured) / unmeasured : 0;
  const total = measured + each * unmeasured;
  if (total === 0) return owned.slice(0, Math.min(most, Math.floor(owned.length * share)));
  const rates = owned
    .map((slot) => ({ slot, rate: slotRates.get(slot) ?? each }))
    .sort((a, b) => b.rate - a.rate || a.slot - b.slot);
  const chosen: number[] = [];
  let carried = 0;
  for (const { slot, rate } of rates) {
    if (chosen.length >= most || rate === 0) break;
    if (carried + rate > total * share) continue;
    chosen.push(slot);
    carried += rate;
  }
  return carried >= total * SHARE_MIN ? chosen.sort((a, b) => a - b) : [];
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
