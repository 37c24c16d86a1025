import { Names, type Plan, SpillError, type Topology } from '@spill/core';
import { Packr } from 'msgpackr';
import type { NatsConnection } from 'nats';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { createShard } from '../../packages/node/src/supervisor/create-shard.js';
import { Planner, type PlannerOptions } from '../../packages/node/src/supervisor/planner.js';
import { topologyOf } from '../support/random-topology.js';

vi.mock('../../packages/node/src/supervisor/create-shard.js', () => ({ createShard: vi.fn() }));

const COOL_DOWN_MS = 30_000;
const FIGURES = { shard: 1, cpu: 0.9, memory: 0.1, rate: 100 };
const codec = new Packr({ useRecords: false });

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['Date'] });
});

afterEach(() => {
  vi.useRealTimers();
});

/** A planner of a cluster in which every shard is at 90 % of a core. */
function plannerOf(
  topology: () => Topology,
  options: Partial<Record<'actions' | 'log' | 'active', unknown>> = {},
): Planner {
  const answer = (): Uint8Array =>
    codec.pack({
      node: topology().nodes[0]?.name,
      processes: [],
      shards: topology().shards.map(({ id }) => ({
        shard: id,
        cpu_percent: 90,
        memory_bytes: 1,
        transactions_per_s: 100,
        hot_slots: [],
      })),
    });
  const nc = {
    status: () => (async function* () {})(),
    request: async () => ({ data: answer(), headers: undefined }),
  } as unknown as NatsConnection;
  return new Planner({
    nc,
    names: new Names(),
    topology: { require: async () => ({ topology: topology(), revision: 1 }) },
    settings: { growthThreshold: 0.7, shrinkThreshold: 0.2, coolDownMs: COOL_DOWN_MS, movesMax: 3, shardsMax: 64 },
    memoryBytesMax: 2 ** 30,
    active: () => true,
    ...options,
    actions: { list: async () => [], ...(options.actions as object) },
  } as Partial<Record<keyof PlannerOptions, unknown>> as unknown as PlannerOptions);
}

test('what moving slots takes of a core is not taken for load', async () => {
  const rest = topologyOf(3, 1_000_000n);
  const moving: Topology = {
    ...rest,
    migrations: [{ id: 1, pool: 'credit', slots: [{ from: 0, to: 9 }], source: 1, target: 4, state: 'copying' }],
  };
  let topology = moving;
  const planner = plannerOf(() => topology);
  const pools = ({ actions }: Plan): string[] => actions.map(({ pool }) => pool);

  expect(pools(await planner.rebalance(true, 'the test'))).toEqual(['debit', 'large']);
  topology = rest;
  vi.advanceTimersByTime(COOL_DOWN_MS - 1);
  const after = await planner.rebalance(true, 'the test');
  expect(pools(after)).toEqual(['debit', 'large']);
  expect(after.notes).toEqual(['credit: cooling down for another 1 s']);
  vi.advanceTimersByTime(1);
  expect(pools(await planner.rebalance(true, 'the test'))).toEqual(['credit', 'debit', 'large']);
});

test('a pool cools down from what another node did, too', async () => {
  const at = new Date(Date.now() - COOL_DOWN_MS + 5_000).toISOString();
  const list = vi.fn(async () => [
    { at, by: 'another', action: { action: 'create_shard', pool: 'credit', reason: '' }, figures: [FIGURES] },
    { at, by: 'an operator', action: { action: 'create_shard', pool: 'debit', reason: '' }, figures: [] },
    { at, by: 'another', action: { action: 'remove_node', node: 'n2', reason: '' }, figures: [] },
  ]);
  let active = true;
  const planner = plannerOf(() => topologyOf(3, 1_000_000n), { actions: { list }, active: () => active });
  const notes = async (): Promise<readonly string[]> => (await planner.rebalance(true, 'the test')).notes;
  expect(await notes()).toEqual(['credit: cooling down for another 5 s']);
  // While it is the active one, nobody else does anything.
  await notes();
  expect(list).toHaveBeenCalledTimes(1);
  active = false;
  await notes();
  active = true;
  await notes();
  expect(list).toHaveBeenCalledTimes(3);
});

test('who becomes the active one again asks what was done meanwhile', async () => {
  vi.useFakeTimers();
  const list = vi.fn(async () => []);
  let active = true;
  const planner = plannerOf(() => topologyOf(3, 1_000_000n), {
    actions: { list, add: async () => {} },
    log: () => {},
    active: () => active,
  });
  vi.mocked(createShard).mockResolvedValue(4);
  planner.start();
  const rounds = (count: number): Promise<unknown> => vi.advanceTimersByTimeAsync(count * 5_000);
  await rounds(3);
  expect(list).toHaveBeenCalledTimes(1);
  active = false;
  await rounds(1);
  active = true;
  await rounds(2);
  expect(list).toHaveBeenCalledTimes(2);
  await planner.stop();
});

test('a clock that is put back prolongs no cooling', async () => {
  const at = new Date(Date.now() + 3_600_000).toISOString();
  const list = async () => [
    { at, by: 'x', action: { action: 'create_shard', pool: 'credit', reason: '' }, figures: [FIGURES] },
  ];
  const planner = plannerOf(() => topologyOf(3, 1_000_000n), { actions: { list } });
  expect((await planner.rebalance(true, 'the test')).notes).toEqual([
    `credit: cooling down for another ${COOL_DOWN_MS / 1_000} s`,
  ]);
});

test('what was done is on record with the number of its shard; what was not possible any more is not', async () => {
  vi.mocked(createShard)
    .mockResolvedValueOnce(4)
    .mockRejectedValueOnce(new SpillError('unavailable', 'every node is silent'))
    .mockResolvedValueOnce(5);
  const recorded: unknown[] = [];
  const log = vi.fn();
  const actions = { add: async ({ action }: { action: unknown }) => recorded.push(action) };
  await plannerOf(() => topologyOf(3, 1_000_000n), { actions, log }).rebalance(false, 'the test');
  expect(recorded).toMatchObject([
    { action: 'create_shard', pool: 'credit', shard: 4 },
    { action: 'create_shard', pool: 'large', shard: 5 },
  ]);
  expect(log).toHaveBeenCalledWith('create_shard in debit was not possible any more: every node is silent');
});

test('what was done has not failed where it can not be put on record', async () => {
  vi.mocked(createShard).mockResolvedValue(4);
  const log = vi.fn();
  const actions = { add: () => Promise.reject(new Error('no leader')) };
  const planner = plannerOf(() => topologyOf(3, 1_000_000n), { actions, log });
  expect(await planner.createShard({ pool: 'credit', node: null }, 'the test')).toBe(4);
  expect(log).toHaveBeenCalledWith('create_shard could not be put on record: no leader');
});
