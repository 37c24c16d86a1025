/**
 * The data table is set back to before something that was folded by a shard which does not own it any more. What the
 * topology says of that shard is that it has nothing left; only its watermark tells.
 */
import { fileURLToPath } from 'node:url';
import { markLogDeleted, type SpillError, shardOf } from '@spill/core';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Asked } from '../support/cluster/client-model.js';
import { Cluster } from '../support/cluster/cluster.js';
import { loadLibrary } from '../support/cluster/library.js';

const lib = await loadLibrary(fileURLToPath(new URL('../../packages', import.meta.url)));
const ANSWER_MS = 3_000;

let cluster: Cluster;

beforeEach(async () => {
  cluster = new Cluster(lib, 1);
  await cluster.start();
});

afterEach(() => cluster.stop());

/** A transaction that shard 1 has stored and folded. */
async function folded(): Promise<Asked> {
  const account = cluster.clients.accounts.find((one) => cluster.otherShard(one, 'credit', 0) === 4) as string;
  const asked = cluster.clients.ask(account, 'credit', Date.now() * 1_000, false) as Asked;
  cluster.submit(0, [asked], ANSWER_MS);
  await cluster.flowFor(6_000);
  expect(cluster.table.ledger.size).toBe(1);
  return asked;
}

async function until(holds: () => boolean, waitMs = 120_000): Promise<void> {
  const end = cluster.runtime.nowMs + waitMs;
  while (!holds() && cluster.runtime.nowMs < end) {
    cluster.check();
    cluster.startMissing();
    await cluster.flowFor(100);
  }
  expect(holds()).toBe(true);
}

async function settled<T>(work: Promise<T>): Promise<T | Error> {
  let told: { readonly it: T | Error } | null = null;
  work.then(
    (it) => {
      told = { it };
    },
    (error: Error) => {
      told = { it: error };
    },
  );
  while (told === null) {
    cluster.check();
    await cluster.flow(1);
  }
  return (told as { readonly it: T | Error }).it;
}

/** The balance, or the code of the error. */
async function balanceOf(account: string): Promise<bigint | string> {
  const router = cluster.routers.find(({ serves }) => serves);
  const told = await settled(router!.balance(account, ANSWER_MS));
  return 'balance' in told ? told.balance : (told as SpillError).code;
}

const shard1 = () => shardOf(cluster.topology, 1)!;

async function retired(): Promise<void> {
  cluster.deleteShard(1);
  await until(() => shard1().state === 'retired');
}

describe('a slot has moved from a shard', () => {
  test.each(['is away', 'is at work'])('which %s: its balance lacks nothing', async (where) => {
    const { account, amount } = await folded();
    cluster.moveAccount(account, 'credit', 4);
    await cluster.flowFor(8_000);
    expect(cluster.topology).toMatchObject({ migrations: [], draining: [] });
    if (where === 'is away') cluster.shards.get(1)?.at(-1)?.kill();
    cluster.table.setBackBefore(1, 3);
    expect(cluster.table.ledger.size).toBe(0);
    for (let i = 0; i < 20; i++) {
      expect([amount, 'unavailable', 'timeout']).toContain(await balanceOf(account));
      await cluster.flowFor(100);
    }
    cluster.startMissing();
    await until(() => cluster.table.ledger.size === 1);
    expect(await balanceOf(account)).toBe(amount);
  });
});

describe('a shard is retired', () => {
  test('and its log is there: it is folded again, and no balance lacks it meanwhile', async () => {
    const { account, amount } = await folded();
    await retired();
    cluster.table.setBackBefore(1, 3);
    expect([amount, 'unavailable', 'timeout']).toContain(await balanceOf(account));
    await until(() => cluster.table.ledger.size === 1);
    expect(await balanceOf(account)).toBe(amount);
  });

  test('and its log is deleted: that is a loss, and somebody is told', async () => {
    const { account, amount } = await folded();
    await retired();
    cluster.change((topology) => markLogDeleted(topology, 1));
    expect(await balanceOf(account)).toBe(amount);
    cluster.table.setBackBefore(1, 3);
    expect(['unavailable', 'timeout']).toContain(await balanceOf(account));
    await until(() => shard1().state === 'damaged');
    expect(shard1().reason).toMatch(/set back to record \d+, and the log is deleted up to \d+/);
  });

  test('and the data table is away: another shard closes all the same', async () => {
    await folded();
    await retired();
    cluster.createShard('credit');
    const { id } = cluster.topology.shards.at(-1)!;
    await cluster.flowFor(2_000);
    cluster.table.away = true;
    cluster.deleteShard(id);
    await until(() => shardOf(cluster.topology, id)?.state === 'closed');
  });
});
