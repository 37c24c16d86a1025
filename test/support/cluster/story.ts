/**
 * One account is used, moved, used and read, with what may go wrong just then: interleavings that a row of single steps
 * meets only once in thousands of runs.
 */
import { ownerOf, POOLS, shardOf } from '@spill/core';
import fc from 'fast-check';
import type { Cluster } from './cluster.js';

/** Longer than the window in which ids are known. */
const ABSENT_MS = 9_000;
/** Nearly the window; and longer than what is left of it, with a second between two horizons. */
const AGE_MS = 2_700;
const SLOW_MS = 3_600;
const COPY_TICKETS = 10;
const STAGE_TICKETS_MAX = 150;
const CLOSE_TICKETS_MAX = 600;
const few = fc.nat(7);

export interface Story {
  readonly kind: 'story';
  readonly account: number;
  readonly pool: number;
  readonly target: number;
  /** The target's process was away for so long before: its horizon lags. */
  readonly absentMs: number;
  /** The source hears nothing of the topology by itself. */
  readonly deaf: boolean;
  /**
   * Given up, while the supervisor's questions come again; moved back as soon as it may be; or the source is closed, and
   * the data table then set back to before it was folded.
   */
  readonly turn: 'on' | 'give up' | 'back' | 'close';
  /** The source's records hang from the turn on, until its process is killed. */
  readonly stall: boolean;
  readonly routers: readonly [number, number, number];
  /**
   * How far the migration comes before its turn; `any`: wherever it is then; `slow`: what is copied is about to be
   * forgotten, and the supervisor is not heard for a while.
   */
  readonly stage: 'any' | 'sealed' | 'committed' | 'slow';
  readonly flows: readonly [number, number, number];
  readonly end: 'read all' | 'retry all' | 'both';
}

export const stories: fc.Arbitrary<Story> = fc.record({
  kind: fc.constant('story' as const),
  account: few,
  pool: fc.nat(1),
  target: few,
  absentMs: fc.constantFrom(0, 0, 0, 0, 0, 0, ABSENT_MS),
  deaf: fc.constantFrom(false, false, true),
  turn: fc.oneof(
    { weight: 6, arbitrary: fc.constantFrom('on' as const, 'give up' as const, 'back' as const) },
    { weight: 1, arbitrary: fc.constant('close' as const) },
  ),
  stall: fc.constantFrom(false, false, true),
  routers: fc.tuple(few, few, few),
  stage: fc.oneof(
    { weight: 7, arbitrary: fc.constantFrom('any' as const, 'sealed' as const, 'committed' as const) },
    { weight: 1, arbitrary: fc.constant('slow' as const) },
  ),
  flows: fc.tuple(fc.nat(30), fc.nat(70), fc.nat(30)),
  end: fc.constantFrom('read all' as const, 'retry all' as const, 'both' as const),
});

export async function tell(cluster: Cluster, story: Story): Promise<void> {
  const { clients, runtime } = cluster;
  const account = clients.accounts[story.account % clients.accounts.length] as string;
  const pool = POOLS[story.pool]!;
  const [before, between, after] = story.flows;
  const submit = (router: number): void => {
    const asked = clients.ask(account, pool, Date.now() * 1_000, false);
    if (asked) cluster.submit(router, [asked], 2_000);
  };
  submit(story.routers[0]);
  await cluster.flow(before);
  const source = ownerOf(cluster.topology, pool, clients.slot(account)).id;
  const target = cluster.otherShard(account, pool, story.target);
  if (target !== null) {
    if (story.absentMs > 0) await beAway(cluster, target, story.absentMs, () => submit(story.routers[0]));
    const process = cluster.shards.get(source)?.at(-1);
    if (process && story.deaf) process.deaf = true;
    if (story.stage === 'slow') await goOn(cluster, AGE_MS, () => submit(story.routers[0]));
    cluster.moveAccount(account, pool, target);
    if (story.stage === 'slow') await copySlowly(cluster, () => submit(story.routers[0]));
    else await reach(cluster, story.stage, source, between);
    const heldBefore = runtime.held;
    if (story.stall) runtime.held = new RegExp(`^record \\d+ of shard ${source}\\.`);
    await turn(cluster, story, source, () => cluster.moveAccount(account, pool, source));
    runtime.held = heldBefore;
    if (story.stall) {
      process?.kill();
      cluster.startShard(source);
    }
  }
  submit(story.routers[1]);
  await cluster.flow(after);
  if (story.end !== 'read all') cluster.submit(story.routers[2], clients.asked, 2_000);
  if (story.end !== 'retry all') for (const other of clients.accounts) cluster.read(story.routers[2], other, 3_000);
  await cluster.flow(after);
}

/** A shard's process is gone for a while. */
/** Time goes by, in which `meanwhile` happens three times: who writes records also forgets. */
async function goOn(cluster: Cluster, ms: number, meanwhile: () => void): Promise<void> {
  for (let i = 0; i < 3; i++) {
    await cluster.flowFor(ms / 3);
    meanwhile();
  }
}

async function copySlowly(cluster: Cluster, meanwhile: () => void): Promise<void> {
  const { runtime } = cluster;
  const heldBefore = runtime.held;
  await cluster.flow(COPY_TICKETS);
  runtime.held = /^supervisor/;
  await goOn(cluster, SLOW_MS, meanwhile);
  runtime.held = heldBefore;
  await cluster.flow(STAGE_TICKETS_MAX);
}

async function beAway(cluster: Cluster, shard: number, ms: number, meanwhile: () => void): Promise<void> {
  cluster.shards.get(shard)?.at(-1)?.kill();
  await goOn(cluster, ms, meanwhile);
  cluster.startShard(shard);
  await cluster.flow(30);
}

async function reach(
  cluster: Cluster,
  stage: Exclude<Story['stage'], 'slow'>,
  source: number,
  flows: number,
): Promise<void> {
  if (stage === 'any') return cluster.flow(flows);
  const migration = cluster.topology.migrations.at(-1)?.id;
  const isThere = (): boolean => {
    const state = cluster.topology.migrations.find(({ id }) => id === migration)?.state;
    const process = cluster.shards.get(source)?.at(-1);
    const sealed = process?.state?.small.seals.some((seal) => seal.migration === migration) === true;
    return state !== 'copying' || (stage === 'sealed' && sealed && process?.acknowledged === process?.state?.sequence);
  };
  for (let i = 0; i < STAGE_TICKETS_MAX && !isThere(); i++) await cluster.flow(1);
}

async function turn(cluster: Cluster, story: Story, source: number, moveBack: () => void): Promise<void> {
  const { runtime } = cluster;
  const after = story.flows[2];
  if (story.turn === 'on') {
    await cluster.flow(after);
  } else if (story.turn === 'give up') {
    cluster.abort(cluster.topology.migrations.length - 1);
    for (let i = 0; i < 3; i++) {
      await cluster.flow(after);
      for (let back = 0; back < 6; back++) cluster.echo(back);
      await runtime.settle();
    }
  } else if (story.turn === 'close') {
    const isRetired = (): boolean => shardOf(cluster.topology, source)?.state === 'retired';
    cluster.deleteShard(source);
    for (let i = 0; i < CLOSE_TICKETS_MAX && !isRetired(); i++) await cluster.flow(1);
    if (isRetired()) cluster.bringBack(source);
  } else {
    for (let i = 0; i < 3; i++) {
      moveBack();
      await cluster.flow(after);
    }
  }
}
