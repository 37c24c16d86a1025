/** What may happen to a cluster, as steps that a generator chooses and a run carries out. */
import { POOLS } from '@spill/core';
import fc from 'fast-check';
import { checkRest, comeToRest, lose } from './at-rest.js';
import { Cluster } from './cluster.js';
import type { Library } from './library.js';
import { type Story, stories, tell } from './story.js';

const at = fc.nat(40);
const few = fc.nat(7);

export type ClusterStep =
  | { readonly kind: 'flow'; readonly count: number }
  | { readonly kind: 'pass'; readonly ms: number }
  | { readonly kind: 'deliver' | 'hold' | 'repeat' | 'drop' | 'delay' | 'late' | 'deaf' | 'echo'; readonly at: number }
  | { readonly kind: 'old news'; readonly at: number; readonly back: number }
  | { readonly kind: 'retry all' | 'read all'; readonly router: number }
  | {
      readonly kind: 'submit';
      readonly router: number;
      readonly account: number;
      readonly pool: number;
      readonly age: number;
      readonly stamped: boolean;
      readonly deadlineMs: number;
    }
  | { readonly kind: 'retry' | 'reuse'; readonly router: number; readonly at: number; readonly deadlineMs: number }
  | { readonly kind: 'read'; readonly router: number; readonly account: number }
  | { readonly kind: 'kill shard' | 'start shard' | 'close' | 'abort' | 'full' | 'lock' | 'check'; readonly at: number }
  | {
      readonly kind: 'migrate';
      readonly pool: number;
      readonly from: number;
      readonly to: number;
      readonly part: number;
    }
  | { readonly kind: 'create'; readonly pool: number }
  | { readonly kind: 'router' | 'supervisor' | 'lease' | 'table'; readonly at: number }
  | { readonly kind: 'set back'; readonly writes: number }
  /** Set back to before the last transactions of some retired shard were folded. */
  | { readonly kind: 'bring back'; readonly at: number }
  | { readonly kind: 'slow folds' }
  /** A process is overtaken by its successor while it opens. */
  | { readonly kind: 'overtaken'; readonly at: number; readonly flows: readonly [number, number] }
  | Story;

function kind<K extends string>(name: K): fc.Arbitrary<K> {
  return fc.constant(name);
}

const deadlineMs = fc.constantFrom(50, 500, 2_000, 10_000);

const anything: fc.Arbitrary<ClusterStep[]> = fc.array(
  fc.oneof(
    {
      weight: 22,
      arbitrary: fc.record({
        kind: kind('flow'),
        count: fc.oneof(fc.integer({ min: 1, max: 12 }), fc.integer({ min: 12, max: 60 })),
      }),
    },
    {
      weight: 8,
      arbitrary: fc.record({
        kind: kind('pass'),
        ms: fc.constantFrom(1, 20, 200, 250, 1_000, 1_500, 1_500, 5_500, 31_000),
      }),
    },
    {
      weight: 16,
      arbitrary: fc.record({ kind: fc.constantFrom('deliver' as const, 'hold' as const, 'repeat' as const), at }),
    },
    { weight: 2, arbitrary: fc.record({ kind: kind('drop'), at }) },
    {
      weight: 9,
      arbitrary: fc.record({ kind: fc.constantFrom('delay' as const, 'delay' as const, 'late' as const), at }),
    },
    { weight: 3, arbitrary: fc.record({ kind: kind('deaf'), at: few }) },
    { weight: 5, arbitrary: fc.record({ kind: kind('echo'), at }) },
    { weight: 4, arbitrary: fc.record({ kind: kind('old news'), at: few, back: fc.nat(12) }) },
    { weight: 6, arbitrary: fc.record({ kind: kind('retry all'), router: few }) },
    { weight: 7, arbitrary: fc.record({ kind: kind('read all'), router: few }) },
    {
      weight: 18,
      arbitrary: fc.record({
        kind: kind('submit'),
        router: few,
        account: few,
        pool: fc.constantFrom(0, 0, 1, 1, 2),
        age: fc.constantFrom(0, 0, 0, 1, 3_000, 3_900, 4_100, 9_000),
        stamped: fc.integer({ min: 0, max: 9 }).map((n) => n === 0),
        deadlineMs,
      }),
    },
    { weight: 8, arbitrary: fc.record({ kind: kind('retry'), router: few, at, deadlineMs }) },
    { weight: 1, arbitrary: fc.record({ kind: kind('reuse'), router: few, at, deadlineMs }) },
    { weight: 3, arbitrary: fc.record({ kind: kind('read'), router: few, account: few }) },
    { weight: 6, arbitrary: fc.record({ kind: kind('kill shard'), at }) },
    { weight: 6, arbitrary: fc.record({ kind: kind('start shard'), at }) },
    {
      weight: 9,
      arbitrary: fc.record({
        kind: kind('migrate'),
        pool: fc.constantFrom(0, 0, 1, 1, 2),
        from: few,
        to: few,
        part: few,
      }),
    },
    { weight: 4, arbitrary: fc.record({ kind: kind('abort'), at: few }) },
    { weight: 2, arbitrary: fc.record({ kind: kind('create'), pool: fc.nat(2) }) },
    { weight: 4, arbitrary: fc.record({ kind: kind('close'), at }) },
    { weight: 2, arbitrary: fc.record({ kind: kind('router'), at: few }) },
    { weight: 3, arbitrary: fc.record({ kind: kind('supervisor'), at: few }) },
    { weight: 2, arbitrary: fc.record({ kind: kind('lease'), at: few }) },
    {
      weight: 4,
      arbitrary: fc.record({ kind: fc.constantFrom('table' as const, 'lock' as const, 'full' as const), at: few }),
    },
    {
      weight: 2,
      arbitrary: fc.record({
        kind: kind('set back'),
        writes: fc.oneof(fc.integer({ min: 1, max: 6 }), fc.integer({ min: 6, max: 40 })),
      }),
    },
    { weight: 3, arbitrary: fc.record({ kind: kind('bring back'), at: few }) },
    { weight: 4, arbitrary: fc.record({ kind: kind('check'), at }) },
    { weight: 3, arbitrary: fc.record({ kind: kind('slow folds') }) },
    { weight: 3, arbitrary: fc.record({ kind: kind('overtaken'), at: few, flows: fc.tuple(fc.nat(6), fc.nat(40)) }) },
    { weight: 14, arbitrary: stories },
  ),
  { minLength: 5, maxLength: 120, size: 'max' },
);

/** Everything in any order, or nothing but stories, close together. */
export const clusterSteps: fc.Arbitrary<ClusterStep[]> = fc.oneof(
  { weight: 2, arbitrary: anything },
  { weight: 1, arbitrary: fc.array(stories, { minLength: 1, maxLength: 8, size: 'max' }) },
);

/** Carries out the steps, then lets everything come to rest. @throws Violation */
export async function runCluster(lib: Library, steps: readonly ClusterStep[], seed: number): Promise<Cluster> {
  return within(new Cluster(lib, seed), steps, async (cluster) => {
    await comeToRest(cluster);
    cluster.check();
    await checkRest(cluster);
  });
}

/**
 * Carries out the steps, then takes the newest records of a log away, as a replica with a shorter log that was made
 * leader does: where a witness is left, the loss must be reported, whatever moved meanwhile. @throws Violation
 */
export async function runLoss(
  lib: Library,
  steps: readonly ClusterStep[],
  seed: number,
  loss: { readonly shard: number; readonly records: number },
): Promise<Cluster> {
  return within(new Cluster(lib, seed), steps, (cluster) => lose(cluster, loss.shard, loss.records));
}

async function within(
  cluster: Cluster,
  steps: readonly ClusterStep[],
  end: (cluster: Cluster) => Promise<void>,
): Promise<Cluster> {
  try {
    await cluster.start();
    for (const step of steps) {
      await take(cluster, step);
      await cluster.runtime.settle();
      cluster.check();
    }
    await end(cluster);
    cluster.check();
    return cluster;
  } finally {
    cluster.stop();
  }
}

async function take(cluster: Cluster, step: ClusterStep): Promise<void> {
  const { runtime, clients } = cluster;
  const { tickets } = runtime;
  switch (step.kind) {
    case 'flow':
      return cluster.flow(step.count);
    case 'pass':
      return runtime.pass(step.ms);
    case 'deliver':
      return runtime.carryOut(step.at % Math.max(1, tickets.length), 'at once');
    case 'hold':
      return runtime.carryOut(step.at % Math.max(1, tickets.length), 'later');
    case 'repeat':
      return runtime.carryOut(step.at % Math.max(1, tickets.length), 'at once', true);
    case 'delay':
      return runtime.delay(step.at % Math.max(1, tickets.length));
    case 'late':
      await runtime.arriveLate(step.at);
      return;
    case 'deaf': {
      const [actor] = nth(
        [...cluster.routers, ...cluster.aliveShards()].filter(({ alive }) => alive),
        step.at,
      );
      if (actor) actor.deaf = !actor.deaf;
      return;
    }
    case 'echo':
      return cluster.echo(step.at);
    case 'old news':
      return cluster.oldNews(step.at, step.back);
    case 'retry all':
      return cluster.submit(step.router, clients.asked, 2_000);
    case 'read all':
      for (const account of clients.accounts) cluster.read(step.router, account, 3_000);
      return;
    case 'drop':
      return runtime.drop(step.at % Math.max(1, tickets.length));
    case 'submit': {
      const timestamp = (Date.now() - (step.stamped ? 0 : step.age)) * 1_000;
      const account = clients.accounts[step.account % clients.accounts.length] as string;
      const asked = clients.ask(account, POOLS[step.pool]!, timestamp, step.stamped);
      if (asked) cluster.submit(step.router, [asked], step.deadlineMs);
      return;
    }
    case 'retry':
      return cluster.submit(step.router, nth(clients.asked, step.at), step.deadlineMs);
    case 'reuse': {
      const [before] = nth(clients.asked, step.at);
      if (!before) return;
      const pool = before.pool === 'credit' ? 'debit' : 'credit';
      const asked = clients.ask(before.account, pool, Date.now() * 1_000, false, before.id);
      if (asked) cluster.submit(step.router, [asked], step.deadlineMs);
      return;
    }
    case 'read':
      return cluster.read(step.router, clients.accounts[step.account % clients.accounts.length] as string, 3_000);
    case 'kill shard':
      return nth(cluster.aliveShards(), step.at)[0]?.kill();
    case 'start shard': {
      const { shards } = cluster.topology;
      cluster.startShard(shards[step.at % shards.length]!.id);
      return;
    }
    case 'migrate':
      return cluster.migrate(POOLS[step.pool]!, step.from, step.to, step.part);
    case 'abort':
      return cluster.abort(step.at);
    case 'create':
      return cluster.createShard(POOLS[step.pool]!);
    case 'close':
      return cluster.deleteShard(cluster.topology.shards[step.at % cluster.topology.shards.length]!.id);
    case 'router':
      if (step.at % 2 === 0)
        nth(
          cluster.routers.filter(({ alive }) => alive),
          step.at,
        )[0]?.kill();
      if (cluster.routers.filter(({ alive }) => alive).length < 3) cluster.startRouter();
      return;
    case 'supervisor':
      if (step.at % 2 === 0)
        nth(
          cluster.supervisors.filter(({ alive }) => alive),
          step.at,
        )[0]?.kill();
      if (cluster.supervisors.filter(({ alive }) => alive).length < 2) cluster.startSupervisor();
      return;
    case 'lease': {
      const [supervisor] = nth(cluster.supervisors, step.at);
      if (supervisor) supervisor.holdsLease = !supervisor.holdsLease;
      return;
    }
    case 'table':
      cluster.table.away = !cluster.table.away;
      return;
    case 'lock': {
      const account = clients.accounts[step.at % clients.accounts.length] as string;
      if (!cluster.table.locked.delete(account)) cluster.table.locked.add(account);
      return;
    }
    case 'full': {
      const [log] = nth([...cluster.outside.logs.values()], step.at);
      if (log) log.full = !log.full;
      return;
    }
    case 'overtaken':
      return cluster.overtake(step.at, step.flows);
    case 'bring back':
      for (const { id } of nth(
        cluster.topology.shards.filter(({ state }) => state === 'retired'),
        step.at,
      ))
        cluster.bringBack(id);
      return;
    case 'set back':
      return cluster.table.setBack(step.writes);
    case 'slow folds':
      runtime.held = runtime.held ? null : /^SQL fold/;
      return;
    case 'story':
      return tell(cluster, step);
    case 'check':
      for (const actor of nth(cluster.aliveShards(), step.at)) cluster.judge.replay(actor);
  }
}

function nth<T>(all: readonly T[], at: number): T[] {
  const one = all[at % Math.max(1, all.length)];
  return one === undefined ? [] : [one];
}
