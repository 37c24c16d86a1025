/**
 * `plan` alone, and over hours and days of simulated load (test/support/load-simulator.ts): it reacts to both
 * thresholds, evens out load, moves little, comes to rest, and is not driven on by what it can't help.
 */
import {
  busyness,
  type PlannedAction,
  type PlanSettings,
  POOLS,
  plan,
  type ShardLoad,
  SLOT_COUNT,
  slotsOf,
  type Topology,
} from '@spill/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type Demand, LoadSimulator, type SimulatorOptions } from '../support/load-simulator.js';
import { runs } from '../support/property-runs.js';
import { Random } from '../support/random.js';
import { movedTopology, topologyOf } from '../support/random-topology.js';

const SETTINGS: PlanSettings = {
  growthThreshold: 0.7,
  shrinkThreshold: 0.2,
  coolDownMs: 30_000,
  movesMax: 3,
  shardsMax: 40,
};
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const NO_HISTORY = { lastActionMs: new Map() };

const uniform = (cores: number): Float64Array => new Float64Array(SLOT_COUNT).fill(cores / SLOT_COUNT);

/** `cores` over all slots, the n-th heaviest with a weight of 1/n, dealt out at random. */
function zipf(cores: number, random: Random): Float64Array {
  const weights = Array.from({ length: SLOT_COUNT }, (_, n) => 1 / (n + 1));
  for (let i = weights.length - 1; i > 0; i--) {
    const j = random.int(0, i);
    [weights[i], weights[j]] = [weights[j] as number, weights[i] as number];
  }
  const sum = weights.reduce((a, b) => a + b, 0);
  return Float64Array.from(weights, (weight) => (weight / sum) * cores);
}

function simulator(options: Partial<SimulatorOptions> = {}): LoadSimulator {
  return new LoadSimulator({ shardCount: 3, settings: SETTINGS, seed: 1, noise: 0.02, ...options });
}

const anyLoad = fc.record({
  cpu: fc.oneof(fc.double({ min: 0, max: 1, noNaN: true }), fc.constantFrom(0, 0.1999, 0.2, 0.45, 0.7, 0.7001, 1)),
  memory: fc.oneof({ weight: 3, arbitrary: fc.constant(0.1) }, fc.double({ min: 0, max: 1, noNaN: true })),
  rates: fc.array(fc.tuple(fc.nat(SLOT_COUNT - 1), fc.nat(20_000)), { maxLength: 30 }),
  elsewhere: fc.nat(20_000),
});

const anySituation = fc
  .tuple(movedTopology, fc.array(anyLoad, { minLength: 31, maxLength: 31 }))
  .map(([topology, plans]): { topology: Topology; loads: ShardLoad[] } => {
    const loads = topology.shards.map(({ id }, i) => {
      const { cpu, memory, rates, elsewhere } = plans[i] as (typeof plans)[number];
      const sum = rates.reduce((total, [, rate]) => total + rate, elsewhere);
      return { shard: id, cpu, memory, rate: sum, slotRates: new Map(rates) };
    });
    return { topology, loads };
  });

function frozen<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    if (!ArrayBuffer.isView(value)) Object.freeze(value);
    for (const inner of Object.values(value)) frozen(inner);
  }
  return value;
}

describe('a plan', () => {
  it('depends on nothing but what it is given, in whatever order, and changes none of it', () => {
    fc.assert(
      fc.property(anySituation, fc.integer(), ({ topology, loads }, seed) => {
        frozen(topology);
        frozen(loads);
        const planned = plan(topology, loads, SETTINGS, NO_HISTORY, 0);
        const random = new Random(seed);
        const shuffled = loads.map((load) => ({ load, at: random.next() })).sort((a, b) => a.at - b.at);
        const again = plan(
          topology,
          shuffled.map(({ load }) => load),
          SETTINGS,
          NO_HISTORY,
          0,
        );
        expect(again).toEqual(planned);
      }),
      runs(200),
    );
  });

  it('acts only where a threshold is passed, on shards of the pool, and within its bounds', () => {
    fc.assert(
      fc.property(anySituation, ({ topology, loads }) => {
        const { actions } = plan(topology, loads, SETTINGS, NO_HISTORY, 0);
        expect(actions.length).toBeLessThanOrEqual(SETTINGS.movesMax);
        for (const action of actions) checkAction(action, topology, loads);
        for (const pool of POOLS) {
          const members = topology.shards.filter((shard) => shard.pool === pool);
          const busy = members.map(({ id }) => busyness(loads.find(({ shard }) => shard === id) as ShardLoad));
          const empty = members.some(({ id }) => topology.owners[pool].every(({ shard }) => shard !== id));
          const calm = busy.every((value) => value >= SETTINGS.shrinkThreshold && value <= SETTINGS.growthThreshold);
          if (calm && !empty) expect(actions.filter((action) => action.pool === pool)).toEqual([]);
        }
      }),
      runs(500),
    );
  });

  function checkAction(action: PlannedAction, topology: Topology, loads: readonly ShardLoad[]): void {
    const { pool } = action;
    const members = topology.shards.filter((shard) => shard.pool === pool).map(({ id }) => id);
    const load = (id: number): ShardLoad => loads.find(({ shard }) => shard === id) as ShardLoad;
    const slotsAt = (id: number): number[] => [...slotsOf(topology.owners[pool].filter(({ shard }) => shard === id))];
    expect(action.reason).toMatch(/shard \d+/);
    switch (action.action) {
      case 'create_shard':
        expect(members.some((id) => busyness(load(id)) > SETTINGS.growthThreshold)).toBe(true);
        break;
      case 'delete_shard':
        expect(members).toContain(action.shard);
        expect(members.length).toBeGreaterThan(1);
        expect(busyness(load(action.shard))).toBeLessThan(SETTINGS.shrinkThreshold);
        break;
      case 'move_slots': {
        const { source, target, slots } = action;
        expect(members).toEqual(expect.arrayContaining([source, target]));
        const moved = [...slotsOf(slots)];
        const owned = slotsAt(source);
        expect(owned).toEqual(expect.arrayContaining(moved));
        expect(new Set(moved).size).toBe(moved.length);
        expect(moved.length).toBeGreaterThan(0);
        expect(moved.length).toBeLessThan(owned.length);
        expect(moved.length).toBeLessThanOrEqual(Math.ceil(SLOT_COUNT / members.length));
        if (slotsAt(target).length === 0) break;
        expect(busyness(load(source))).toBeGreaterThan(SETTINGS.growthThreshold);
        expect(busyness(load(target))).toBeLessThan(SETTINGS.growthThreshold / 2);
        break;
      }
    }
  }

  it('waits while a pool cools down, moves slots, closes a shard, or a shard of it is silent', () => {
    const topology = topologyOf(3, 100n);
    const busy = topology.shards.map(
      ({ id }): ShardLoad => ({ shard: id, cpu: 0.9, memory: 0.1, rate: 27_000, slotRates: new Map() }),
    );
    const pools = (given: Topology, loads = busy, history: Parameters<typeof plan>[3] = NO_HISTORY, nowMs = 0) =>
      plan(given, loads, SETTINGS, history, nowMs).actions.map(({ pool }) => pool);
    expect(pools(topology)).toEqual(['credit', 'debit', 'large']);
    expect(pools(topology, busy.slice(1))).toEqual(['debit', 'large']);
    const history = { lastActionMs: new Map([['debit' as const, 1_000]]) };
    expect(pools(topology, busy, history, 30_999)).toEqual(['credit', 'large']);
    expect(pools(topology, busy, history, 31_000)).toEqual(['credit', 'debit', 'large']);
    const migration = { id: 1, pool: 'large' as const, slots: [], source: 3, target: 9, state: 'aborted' as const };
    expect(pools({ ...topology, migrations: [migration] })).toEqual(['credit', 'debit']);
    const closing = { ...topology.shards[0]!, id: 9, state: 'closing' as const };
    expect(pools({ ...topology, shards: [...topology.shards, closing] })).toEqual(['debit', 'large']);
    expect(plan(topology, busy, { ...SETTINGS, movesMax: 2 }, NO_HISTORY, 0).actions.length).toBe(2);
    expect(pools(topology, busy).length).toBe(3);
    expect(plan(topology, busy, { ...SETTINGS, shardsMax: 3 }, NO_HISTORY, 0).actions).toEqual([]);
    expect(plan(topology, busy, { ...SETTINGS, shardsMax: 4 }, NO_HISTORY, 0).actions.length).toBe(1);
  });

  it('evens out load, not the number of slots', () => {
    const sim = simulator({ shardCount: 6, noise: 0 });
    const credit = new Float64Array(SLOT_COUNT);
    // Nearly everything of the first shard's 512 slots is in eight of them.
    for (let slot = 0; slot < 8; slot++) credit[slot * 60] = 0.1;
    credit[700] = 0.1;
    sim.run(() => ({ credit }), 10 * MINUTE);
    const [moved] = sim.taken.flatMap(({ action }) => (action.action === 'move_slots' ? [action] : []));
    expect([...slotsOf(moved!.slots)].length).toBe(3);
    expect(sim.open('credit').map((shard) => Math.round(10 * sim.demanded(shard, 'credit', { credit })))).toEqual([
      5, 4,
    ]);
  });

  it('goes on for the others where the busiest shard has one slot that is too hot', () => {
    const sim = simulator({ shardCount: 6, noise: 0 });
    const credit = new Float64Array(SLOT_COUNT);
    credit[5] = 2;
    for (let slot = 512; slot < 1024; slot++) credit[slot] = 0.9 / 512;
    sim.run(() => ({ credit }), 10 * MINUTE);
    const [hot, ...others] = sim.open('credit');
    expect(sim.demanded(hot!, 'credit', { credit })).toBeGreaterThanOrEqual(2);
    for (const shard of others) expect(sim.demanded(shard, 'credit', { credit })).toBeLessThan(0.7);
  });
});

describe('over hours of load that stays', () => {
  const calmSlots = fc.record({
    cores: fc.double({ min: 0.02, max: 3.2, noNaN: true }),
    zipf: fc.boolean(),
    shardCount: fc.integer({ min: 3, max: 18 }),
    seed: fc.nat(),
  });

  it('relieves every shard, and does nothing more after the tenth minute', () => {
    fc.assert(
      fc.property(calmSlots, ({ cores, zipf: uneven, shardCount, seed }) => {
        const sim = simulator({ shardCount, seed });
        // The heaviest slot of the uneven kind carries 13 %: below half a core.
        const demand: Demand = { debit: uneven ? zipf(cores, new Random(seed)) : uniform(cores) };
        const began = new Map(POOLS.map((pool) => [pool, sim.open(pool).length]));
        sim.run(
          () => demand,
          HOUR,
          () => {
            for (const pool of POOLS) expect(sim.open(pool).length).toBeGreaterThanOrEqual(1);
          },
        );
        expect(sim.taken.filter(({ atMs }) => atMs > 10 * MINUTE)).toEqual([]);
        for (const shard of sim.open('debit')) {
          expect(sim.demanded(shard, 'debit', demand)).toBeLessThan(SETTINGS.growthThreshold);
        }
        // No more shards than a sensible person would take, and idle pools end with one.
        expect(sim.open('debit').length).toBeLessThanOrEqual(
          Math.max(Math.ceil(cores / 0.3) + 1, cores < 0.05 ? 1 : (began.get('debit') as number)),
        );
        for (const pool of ['credit', 'large'] as const) expect(sim.open(pool).length).toBe(1);
        expect(Math.max(...sim.moves.debit)).toBeLessThanOrEqual(6);
      }),
      // An hour is too long to look for a shorter one.
      { ...runs(8), endOnFailure: true },
    );
  });

  it('makes no shards without end for one slot that is too hot for any', () => {
    fc.assert(
      fc.property(
        fc.record({
          hot: fc.double({ min: 0.65, max: 4, noNaN: true }),
          rest: fc.double({ min: 0, max: 0.6, noNaN: true }),
          slot: fc.nat(SLOT_COUNT - 1),
          seed: fc.nat(),
        }),
        ({ hot, rest, slot, seed }) => {
          const sim = simulator({ seed });
          const credit = uniform(rest);
          credit[slot] = hot;
          sim.run(() => ({ credit }), HOUR);
          // Where the rest is just enough for a shard of its own, noise decides when that is seen.
          const began = sim.taken[0]?.atMs ?? 0;
          expect(sim.taken.filter(({ atMs }) => atMs > began + 10 * MINUTE)).toEqual([]);
          expect(sim.open('credit').length).toBeLessThanOrEqual(3);
          expect(Math.max(...sim.moves.credit)).toBeLessThanOrEqual(2);
        },
      ),
      // An hour is too long to look for a shorter one.
      { ...runs(8), endOnFailure: true },
    );
  });

  it('makes no shards without end where memory does not come back', () => {
    const sim = simulator({ memoryAtFull: 1.2, noise: 0 });
    const debit = uniform(0.65);
    sim.run(() => ({ debit }), HOUR);
    expect(sim.taken.filter(({ atMs }) => atMs > 10 * MINUTE)).toEqual([]);
    expect(sim.open('debit').length).toBe(2);
    sim.run(() => ({}), HOUR);
    expect(sim.open('debit').length).toBe(2);
  });
});

describe('over days of load that comes and goes', () => {
  it('follows it with few actions, and is not driven to and fro by noise', () => {
    const sim = simulator({ noise: 0.05, roundMs: 30_000 });
    const shape = zipf(1, new Random(7));
    const peak = { credit: 2.4, debit: 1.5, large: 0.1 };
    const day = 24 * HOUR;
    const demand = (ms: number): Demand => {
      // From a fiftieth of the peak at night to all of it at noon.
      const height = 0.02 + 0.98 * ((1 - Math.cos((2 * Math.PI * ms) / day)) / 2);
      return Object.fromEntries(
        POOLS.map((pool) => [pool, shape.map((share) => share * peak[pool] * height)]),
      ) as unknown as Demand;
    };
    let rounds = 0;
    let overloaded = 0;
    sim.run(demand, 2 * day, () => {
      rounds += 1;
      if (rounds % 10 !== 0) return;
      const now = demand(sim.nowMs);
      for (const pool of POOLS) {
        for (const shard of sim.open(pool)) if (sim.demanded(shard, pool, now) > 0.8) overloaded += 1;
      }
    });
    expect(overloaded).toBe(0);
    const perDay = (pool: string): number => sim.taken.filter(({ action }) => action.pool === pool).length / 2;
    expect(perDay('large')).toBe(0);
    expect(perDay('credit')).toBeGreaterThan(2);
    expect(perDay('credit')).toBeLessThan(40);
    expect(perDay('debit')).toBeLessThan(30);
    // Midnight: all is quiet again.
    for (const pool of POOLS) expect(sim.open(pool).length).toBe(1);
  });
});
