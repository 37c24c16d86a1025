/** The end of a run: what was disturbed is whole again, and then everything must come to an end and be right. */
import { POOLS } from '@spill/core';
import type { Cluster } from './cluster.js';
import { hasRows, type LogModel } from './log-model.js';
import type { WitnessModel } from './shard-actor.js';

const REST_MS_MAX = 240_000;

/** Everything is whole again and nothing is lost any more: then all that is under way must come to an end. */
export async function comeToRest(cluster: Cluster): Promise<void> {
  cluster.table.away = false;
  cluster.table.locked.clear();
  for (const log of cluster.outside.logs.values()) log.full = false;
  cluster.supervisors.forEach((supervisor, i) => {
    supervisor.holdsLease = i === cluster.supervisors.length - 1;
  });
  if (cluster.supervisors.every(({ alive }) => !alive)) cluster.startSupervisor();
  else cluster.supervisors.findLast(({ alive }) => alive)!.holdsLease = true;
  cluster.runtime.held = null;
  while (await cluster.runtime.arriveLate(0));
  const until = cluster.runtime.nowMs + REST_MS_MAX;
  while (cluster.runtime.nowMs < until && !cluster.judge.hasFound) {
    if (cluster.routers.every(({ alive }) => !alive)) cluster.startRouter();
    cluster.startMissing();
    while (cluster.runtime.tickets.length > 0 && !cluster.judge.hasFound) await cluster.runtime.carryOut(0, 'at once');
    if (unrest(cluster).length === 0) return;
    await cluster.runtime.pass(Math.min(50, cluster.runtime.untilNextTimer ?? 50));
  }
  cluster.judge.violated(7, `it does not come to rest: ${unrest(cluster).join('; ')}`);
}

/** Acknowledged records of a log are gone; its processes end and are started again. */
export async function lose(cluster: Cluster, shardAt: number, records: number): Promise<void> {
  const witnessed = cluster.topology.shards.filter(({ id, state }) => {
    const last = cluster.outside.logs.get(id)!.stream.lastSequence;
    const remembers = newestWitness(cluster, id)?.sequence ?? 0;
    // A closed shard is folded to its end: nobody opens its log any more, which goes with the retirement.
    const isRead = state !== 'closed' && state !== 'retired';
    return isRead && remembers > Math.max(1, last - records);
  });
  const entry = witnessed[shardAt % Math.max(1, witnessed.length)];
  if (!entry) return;
  const log = cluster.outside.logs.get(entry.id) as LogModel;
  cluster.judge.cut.add(entry.id);
  for (const actor of cluster.shards.get(entry.id) ?? []) actor.kill();
  log.full = false;
  const { lastSequence } = log.stream;
  const gone = log.range(Math.max(2, lastSequence - records + 1), lastSequence);
  log.stream.truncate(gone.length);
  const until = cluster.runtime.nowMs + 60_000;
  while (cluster.runtime.nowMs < until && !cluster.judge.hasFound && !cluster.damaged.has(entry.id)) {
    if (!cluster.shards.get(entry.id)?.at(-1)?.alive) cluster.startShard(entry.id);
    await cluster.flow(1);
  }
  cluster.judge.count('losses');
  // A publish that arrives a second time fits the shorter log, and puts back the very record that was lost.
  const isBack = gone.every(({ sequence, bytes }) => {
    const again = log.get(sequence);
    return again !== null && Buffer.compare(again.bytes, bytes) === 0;
  });
  if (!cluster.damaged.has(entry.id) && !isBack) {
    cluster.judge.violated(
      8,
      `shard ${entry.id} lost acknowledged records, a witness remembers them, and nobody was told`,
    );
  }
}

function newestWitness(cluster: Cluster, shard: number): WitnessModel['witness'] | null {
  const all = cluster.witnesses.filter((entry) => entry.shard === shard).map(({ witness }) => witness);
  return all.sort((a, b) => b.assignment - a.assignment)[0] ?? null;
}

function unrest(cluster: Cluster): string[] {
  const { topology } = cluster;
  const reasons: string[] = [];
  for (const { id, state, source, target } of topology.migrations) {
    reasons.push(`migration ${id} from ${source} to ${target} is ${state}`);
  }
  for (const { shard, sealedSequence } of topology.draining) reasons.push(`shard ${shard} drains to ${sealedSequence}`);
  for (const { id, state, refolding } of topology.shards) {
    if (state !== 'open' && state !== 'retired') reasons.push(`shard ${id} is ${state}`);
    if (refolding) reasons.push(`shard ${id} is folded again`);
    const log = cluster.outside.logs.get(id) as LogModel;
    const folded = cluster.table.watermarks.get(id)?.sequence ?? 0;
    const rows = log.range(folded + 1, log.stream.lastSequence).some(({ bytes }) => hasRows(bytes));
    if (rows) reasons.push(`shard ${id} is folded to ${folded} of ${log.stream.lastSequence}`);
    const newest = cluster.shards.get(id)?.at(-1);
    // A record whose fate is not known yet: its writer will give up and open again.
    if (newest?.shard && newest.state && newest.phase === 'serving') {
      const sequences = new Set([newest.acknowledged, newest.state.sequence, log.stream.lastSequence]);
      if (sequences.size > 1) reasons.push(`${newest.name} stores a record`);
    }
    if (state !== 'retired' && newest?.phase !== 'serving') reasons.push(`${newest?.name ?? id} is ${newest?.phase}`);
  }
  if (!cluster.routers.some(({ serves }) => serves)) reasons.push('no router serves');
  if (cluster.table.dueSetAsideAccounts().length > 0) reasons.push('something is set aside');
  return reasons;
}

/** At rest: every transaction has taken effect exactly once, and the cluster takes new ones everywhere. */
export async function checkRest(cluster: Cluster): Promise<void> {
  if (cluster.judge.hasFound) return;
  cluster.judge.ledger();
  for (const actor of cluster.aliveShards()) cluster.judge.replay(actor);
  await retriesAll(cluster);
  await takesNewOnes(cluster);
}

/** Every client tries everything again: nothing is stored a second time, whoever knows it now. */
async function retriesAll(cluster: Cluster): Promise<void> {
  cluster.submit(0, cluster.clients.asked, 5_000);
  const until = cluster.runtime.nowMs + 6_000;
  await quiet(cluster, () => cluster.runtime.nowMs >= until);
}

async function takesNewOnes(cluster: Cluster): Promise<void> {
  const fresh = cluster.clients.accounts.flatMap((account) =>
    POOLS.flatMap((pool) => cluster.clients.ask(account, pool, Date.now() * 1_000, false) ?? []),
  );
  cluster.submit(0, fresh, 5_000);
  await quiet(cluster, () => fresh.every(({ acknowledged }) => acknowledged));
  const refused = fresh.filter(({ acknowledged }) => !acknowledged);
  if (refused.length > 0) {
    cluster.judge.violated(
      3,
      `nobody takes ${refused.map(({ account, pool, refusal }) => `${account} in ${pool} (${refusal})`).join(', ')}`,
    );
  }
  for (const account of cluster.clients.accounts) {
    let told = false;
    // One read may meet what was lost before; then the client asks again.
    for (let i = 0; i < 3 && !told; i++) {
      const until = cluster.runtime.nowMs + 5_000;
      cluster.read(0, account, 5_000, () => {
        told = true;
      });
      await quiet(cluster, () => told || cluster.runtime.nowMs >= until);
    }
    if (!told) cluster.judge.violated(4, `nobody tells the balance of ${account}: ${cluster.lastReadError}`);
  }
}

async function quiet(cluster: Cluster, done: () => boolean): Promise<void> {
  const until = cluster.runtime.nowMs + 10_000;
  while (cluster.runtime.nowMs < until && !cluster.judge.hasFound && !done()) {
    // What was lost before may end a process even now.
    cluster.startMissing();
    await cluster.flow(1);
  }
}
