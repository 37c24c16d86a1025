import { DataTableUnavailableError, type Topology } from '@spill/core';
import { expect, test, vi } from 'vitest';
import { TopologyKeeper } from '../../packages/node/dist/supervisor/topology-keeper.js';
import { topologyOf } from '../support/random-topology.js';

test('retired shards do not wait for the database one after the other, and it is said once that it is away', async () => {
  const { shards, ...rest } = topologyOf(3, 1_000_000n);
  const retired = Array.from({ length: 20 }, (_, i) => ({ ...shards[0]!, id: 100 + i, state: 'retired' as const }));
  const topology: Topology = { ...rest, shards: [...shards, ...retired] };
  const place = vi.fn(async () => {});
  const watermark = vi.fn(async () => {
    throw new DataTableUnavailableError('the database is away');
  });
  const log = vi.fn();
  const keeper = new TopologyKeeper({
    topology: { require: async () => ({ topology, revision: 1 }) },
    lease: { isHeld: true, renew: async () => true, release: async () => {} },
    ask: async () => null,
    table: { watermark },
    placer: { round: place },
    log,
  } as unknown as ConstructorParameters<typeof TopologyKeeper>[0]);
  const rounds = async (count: number): Promise<void> => {
    keeper.wake();
    await vi.waitFor(() => expect(place).toHaveBeenCalledTimes(count));
    await new Promise((resolve) => setImmediate(resolve));
  };
  await rounds(1);
  expect(watermark).toHaveBeenCalledTimes(1);
  // Each is looked at again only after a while.
  await rounds(2);
  expect(watermark).toHaveBeenCalledTimes(1);
  expect(log).toHaveBeenCalledTimes(1);
  expect(log).toHaveBeenCalledWith('the supervisor waits: the database is away');
  await keeper.stop();
});
