/**
 * A whole cluster in one process: the real classes of shards, routers and supervisors, the model of JetStream, a data
 * table, clients; and what must hold of it all, at every record, at every answer, and at the end.
 */
import {
  abortMigration,
  acceptedRows,
  addShard,
  beginClosing,
  beginMigration,
  firstTopology,
  NO_HASH,
  NO_SMALL_STATE,
  ownedSpans,
  ownerOf,
  POOLS,
  type Pool,
  readRecord,
  recordHash,
  type ShardEntry,
  type SlotSpan,
  type SpillError,
  type SubmitResult,
  shardOf,
  slotOf,
  slotsOf,
  type Topology,
  TopologyConflictError,
  writeRecord,
} from '@spill/core';
import { comparable } from '../comparable-state.js';
import { type Asked, ClientModel, LARGE_THRESHOLD } from './client-model.js';
import { DataTableModel, keyOf } from './data-table-model.js';
import type { Library } from './library.js';
import { LogModel } from './log-model.js';
import { RouterActor, SupervisorActor } from './other-actors.js';
import { Outside } from './ports.js';
import { NODE, ShardActor, TUNING, type WitnessModel } from './shard-actor.js';
import { VirtualRuntime } from './virtual-runtime.js';

export class Violation extends Error {
  override readonly name = 'Violation';
}

interface Accepted {
  readonly shard: number;
  readonly sequence: number;
  readonly amount: bigint;
  readonly timestamp: number;
}

const SHARDS = 5;
/** Two or three accounts a shard of the pools that have two. */
const ACCOUNTS = ['ada', 'bob', 'cyd', 'dan'];
const REST_MS_MAX = 240_000;

export class Cluster {
  readonly runtime: VirtualRuntime;
  readonly table = new DataTableModel();
  readonly clients = new ClientModel(ACCOUNTS);
  readonly outside: Outside;
  readonly shards = new Map<number, ShardActor[]>();
  readonly routers: RouterActor[] = [];
  readonly supervisors: SupervisorActor[] = [];
  readonly witnesses: WitnessModel[] = [];
  /** Somebody has cut a log: it must be called damaged, and nothing else is promised of it. */
  readonly cut = new Set<number>();
  readonly damaged = new Map<number, string>();
  private readonly accepted = new Map<string, Accepted[]>();
  /** What has come about, to see that a run is worth something. */
  readonly stats: Record<string, number> = {};
  private violation: Violation | null = null;
  private lastReadError = '';
  private named = 0;

  constructor(
    readonly lib: Library,
    seed: number,
  ) {
    this.runtime = new VirtualRuntime(seed);
    const first = firstTopology({
      node: { name: NODE, labels: {}, since: '' },
      shardCount: SHARDS,
      largeThreshold: LARGE_THRESHOLD,
      accountType: 'text',
      replicas: 1,
      secret: '17'.repeat(32),
      logIds: Array.from({ length: SHARDS }, (_, i) => logIdOf(i + 1)),
    });
    this.outside = new Outside(lib, this.runtime, this.table, first, (before, after) => this.changed(before, after));
  }

  async start(): Promise<void> {
    this.runtime.install();
    for (const { id } of this.topology.shards) this.createLog(id, 0);
    for (const { id } of this.topology.shards) this.startShard(id);
    this.startRouter();
    this.startSupervisor();
    await this.runtime.settle();
    await this.flow(200);
    this.check();
  }

  stop(): void {
    for (const actor of this.actors()) actor.alive = false;
    this.runtime.uninstall();
  }

  get topology(): Topology {
    return this.outside.topology;
  }

  /** Throws what was found, where it can be caught. */
  check(): void {
    if (this.violation) throw this.violation;
  }

  violated(message: string): void {
    this.violation ??= new Violation(message);
  }

  count(what: string): void {
    this.stats[what] = (this.stats[what] ?? 0) + 1;
  }

  // Processes.

  startShard(id: number): ShardActor | null {
    const entry = shardOf(this.topology, id);
    if (!entry || entry.state === 'damaged' || entry.state === 'retired') return null;
    const actor = new ShardActor(id, {
      outside: this.outside,
      witnesses: this.witnesses,
      damaged: (shard, reason) => {
        if (!shard.isNewest) return;
        this.damaged.set(id, reason);
        if (!this.cut.has(id)) this.violated(`the healthy log of ${shard.name} was called damaged: ${reason}`);
      },
      broke: (shard, error) => this.violated(`${shard.name} broke: ${error.stack ?? error.message}`),
    });
    const all = this.shards.get(id);
    if (all) all.push(actor);
    else this.shards.set(id, [actor]);
    return actor;
  }

  startRouter(): void {
    this.routers.push(new RouterActor(`router ${++this.named}`, this.outside));
  }

  startSupervisor(): void {
    const failed = (message: string): void => this.violated(message);
    this.supervisors.push(new SupervisorActor(`supervisor ${++this.named}`, this.outside, failed));
  }

  /** A read of the topology that a lagging replica answers reaches a shard. */
  oldNews(shardAt: number, back: number): void {
    const viewing = this.aliveShards().filter(({ view }) => view !== null);
    const { documents } = this.outside;
    const document = documents[Math.max(0, documents.length - 1 - back)] as string;
    viewing[shardAt % Math.max(1, viewing.length)]?.view?.take(JSON.parse(document) as Topology);
  }

  aliveShards(): ShardActor[] {
    return [...this.shards.values()].flat().filter(({ alive }) => alive);
  }

  private actors(): (ShardActor | RouterActor | SupervisorActor)[] {
    return [...this.shards.values()].flat().concat(this.routers as never, this.supervisors as never);
  }

  // Operators' doings: each at one moment, and in vain where the topology does not allow it.

  change(change: (topology: Topology) => Topology | null): void {
    try {
      this.outside.changeNow(change);
    } catch (error) {
      if (!(error instanceof TopologyConflictError)) throw error;
    }
  }

  migrate(pool: Pool, sourceAt: number, targetAt: number, part: number): void {
    const { topology } = this;
    const members = topology.shards.filter((shard) => shard.pool === pool && shard.state !== 'retired');
    const source = members[sourceAt % members.length] as ShardEntry;
    const target = members[targetAt % members.length] as ShardEntry;
    const owned = ownedSpans(topology, pool, source.id);
    const slots = partOf(owned, part);
    this.change((newest) => beginMigration(newest, { pool, slots, source: source.id, target: target.id }));
  }

  abort(at: number): void {
    const { migrations } = this.topology;
    const migration = migrations[at % migrations.length];
    if (migration) this.change((newest) => abortMigration(newest, migration.id));
  }

  createShard(pool: Pool): void {
    const id = this.topology.nextShard;
    if (id > SHARDS + 3) return;
    this.createLog(id, Date.now() * 1_000 - TUNING.dedupeWindowMs * 1_000);
    this.change((newest) => addShard(newest, { id, pool, node: NODE, logId: logIdOf(id), replicas: 1 }));
    this.startShard(id);
  }

  deleteShard(at: number): void {
    const { shards } = this.topology;
    const { id, state } = shards[at % shards.length] as ShardEntry;
    if (state !== 'closing') this.change((newest) => beginClosing(newest, id));
  }

  // Clients.

  submit(routerAt: number, asked: readonly Asked[], deadlineMs: number): void {
    const serving = this.routers.filter(({ serves }) => serves);
    const router = serving[routerAt % serving.length];
    if (!router || asked.length === 0) return;
    // Copies: a router may stamp again what it was given.
    const transactions = asked.map(({ account, id, amount, timestamp, stamped }) => ({
      account,
      id,
      amount,
      timestamp,
      stamped,
    }));
    router.submit(transactions, deadlineMs).then(
      (results) => {
        for (const [i, result] of results.entries()) this.answered(asked[i] as Asked, result);
      },
      (error: Error) => this.violated(`submit rejected: ${error.stack}`),
    );
  }

  read(routerAt: number, account: string, deadlineMs: number, onBalance?: (balance: bigint) => void): void {
    const serving = this.routers.filter(({ serves }) => serves);
    const router = serving[routerAt % serving.length];
    if (!router) return;
    const surely = this.clients.acknowledged(account);
    const whole = this.tableIsWhole();
    router.balance(account, deadlineMs).then(
      (balance) => {
        if (balance instanceof this.lib.core.SpillError || 'code' in balance) {
          this.violated(`the balance of ${account} is an error: ${(balance as SpillError).message}`);
          return;
        }
        onBalance?.(balance.balance);
        const held = surely.filter(({ direct }) => !(direct && this.table.wasSetBack));
        // Between a data table's going back and a shard's noticing it nobody can know.
        if (!whole || !this.tableIsWhole() || this.cut.size > 0) return;
        this.count('balances judged');
        const wrong = this.clients.judgeBalance(account, balance.balance, held);
        if (wrong) this.violated(`a balance of ${account}, ${balance.balance}: ${wrong}`);
      },
      (error: Error) => {
        this.lastReadError = error.message;
        if (!(error instanceof this.lib.core.SpillError)) this.violated(`a read broke: ${error.stack}`);
      },
    );
  }

  /** Everything that was ever folded is in the data table, or the topology says of which shards it is not. */
  private tableIsWhole(): boolean {
    const { topology } = this;
    return [...this.table.foldedEver].every(
      ([shard, sequence]) =>
        (this.table.watermarks.get(shard)?.sequence ?? 0) >= sequence || shardOf(topology, shard)?.refolding === true,
    );
  }

  private answered(asked: Asked, result: SubmitResult): void {
    const { account, id, amount } = asked;
    this.count(`answered ${result.status === 'rejected' ? result.error.code : result.status}`);
    const what = `${id} of ${account}`;
    if (result.status === 'rejected') {
      const { code, message } = result.error;
      asked.refusal = `${code}: ${message}`;
      if (code === 'id_conflict' && this.clients.of(account, id).length === 1) {
        this.violated(`${what} is called a conflict with itself`);
      }
      const edge = Date.now() * 1_000 - TUNING.dedupeWindowMs * 1_000;
      if (code === 'expired' && asked.timestamp >= edge && !asked.stamped) this.violated(`${what} is called expired`);
      if (code === 'internal' || code === 'malformed') this.violated(`${what}: ${result.error.message}`);
      return;
    }
    const { shard, sequence, status } = result;
    if (shard !== null && !this.cut.has(shard)) {
      const there = (this.accepted.get(keyOf(account, id)) ?? []).some(
        (one) => one.shard === shard && one.sequence === sequence && one.amount === amount,
      );
      if (!there)
        this.violated(`${what} is answered ${status} in record ${sequence} of shard ${shard}: it is not there`);
    }
    asked.acknowledged = true;
    if (shard === null) asked.direct = true;
  }

  // What must hold at every record and at every change of the topology.

  private createLog(shard: number, horizon: number): void {
    if (this.outside.logs.has(shard)) return;
    const log = new LogModel(shard, (message) => this.stored(shard, message));
    this.outside.logs.set(shard, log);
    const small = { ...NO_SMALL_STATE, horizon, epoch: this.topology.epoch };
    const first = writeRecord({
      logId: logIdOf(shard),
      previous: NO_HASH,
      assignment: 0,
      number: 1,
      count: 0,
      sum: 0n,
      replayFrom: 1,
      epoch: small.epoch,
      events: [{ type: 'created', shard, small }],
    });
    log.store({ name: 'creator', alive: true }, first, 0, Date.now() * 1_000);
  }

  private stored(shard: number, { sequence, bytes }: { sequence: number; bytes: Uint8Array }): void {
    const record = readRecord(bytes);
    const { topology } = this;
    for (const { account, id, amount, timestamp } of acceptedRows(record)) {
      const pool = shardOf(topology, shard)!.pool;
      const what = `${id} of ${account} in record ${sequence} of shard ${shard}`;
      const owner = ownerOf(topology, pool, slotOf(account)).id;
      if (owner !== shard) this.violated(`${what}: the slot is shard ${owner}'s`);
      const key = keyOf(account, id);
      const all = this.accepted.get(key) ?? [];
      this.count(all.length > 0 ? 'stored again' : 'stored');
      const twice = all.find((one) => one.amount === amount && one.timestamp === timestamp);
      const stamped = this.clients.find(account, id, amount)?.stamped === true;
      if (twice && !stamped && !this.cut.has(twice.shard)) {
        this.violated(`${what} is stored in record ${twice.sequence} of shard ${twice.shard} already`);
      }
      all.push({ shard, sequence, amount, timestamp });
      this.accepted.set(key, all);
    }
  }

  private changed(before: Topology, after: Topology): void {
    if (after.epoch <= before.epoch) this.violated(`epoch ${after.epoch} follows ${before.epoch}`);
    for (const shard of before.shards) {
      const then = shardOf(after, shard.id);
      if (!then) this.violated(`shard ${shard.id} is gone`);
      else if (shard.state === 'retired' && then.state !== 'retired') this.violated(`shard ${shard.id} came back`);
      else if (then.assignment < shard.assignment) this.violated(`an assignment of shard ${shard.id} went back`);
    }
    for (const { id, state } of after.migrations) {
      const was = before.migrations.find((migration) => migration.id === id)?.state;
      if (state !== was) this.count(`migrations ${state}`);
    }
    for (const { id, refolding } of after.shards) {
      if (refolding && !shardOf(before, id)?.refolding) this.count('refolding');
    }
    for (const pool of POOLS) {
      for (const range of after.owners[pool]) {
        const state = shardOf(after, range.shard)?.state;
        if (state === 'closed' || state === 'retired') this.violated(`slots of ${pool} belong to a ${state} shard`);
      }
    }
  }

  /** A shard with nothing in flight is the replay of its log from where its last record says. */
  checkReplay(actor: ShardActor): void {
    const { state } = actor;
    if (!actor.alive || !state || actor.phase !== 'serving' || !actor.isNewest) return;
    const log = this.outside.logs.get(actor.id) as LogModel;
    if (log.stream.lastSequence !== state.sequence || actor.acknowledged !== state.sequence) return;
    const { pool, largeThreshold, idHashKey } = state;
    const { initialShardState, replayRecord } = this.lib.core;
    const replayed = initialShardState({ shard: actor.id, pool, largeThreshold, idHashKey, slotOf });
    const from = readRecord(log.last()!.bytes).replayFrom;
    for (const { sequence, bytes } of log.range(from, state.sequence)) {
      replayRecord(replayed, readRecord(bytes), sequence, recordHash(bytes));
    }
    // A process that has just opened carries its own assignment from its first record on.
    const [a, b] = [comparable(state), comparable(replayed)].map((value) =>
      JSON.stringify(value, (_, inner) => (typeof inner === 'bigint' ? `${inner}` : inner)),
    );
    this.count(replayed.adoptions.size > 0 ? 'replays compared, with adoptions' : 'replays compared');
    if (a !== b) this.violated(`${actor.name} is not the replay of its log from ${from}: ${a} ≠ ${b}`);
  }

  // Going on.

  /** Carries out up to `count` tickets in their order; where there is none, time goes on to the next timer. */
  async flow(count: number): Promise<void> {
    for (let i = 0; i < count && !this.violation; i++) {
      if (this.runtime.tickets.length > 0) await this.runtime.carryOut(0, 'at once');
      else await this.runtime.pass(Math.min(20, this.runtime.untilNextTimer ?? 20));
    }
  }

  /** Everything is whole again and nothing is lost any more: then all that is under way must come to an end. */
  async rest(): Promise<void> {
    this.table.away = false;
    this.table.locked.clear();
    for (const log of this.outside.logs.values()) log.full = false;
    this.supervisors.forEach((supervisor, i) => {
      supervisor.holdsLease = i === this.supervisors.length - 1;
    });
    if (this.supervisors.every(({ alive }) => !alive)) this.startSupervisor();
    else this.supervisors.findLast(({ alive }) => alive)!.holdsLease = true;
    while (await this.runtime.arriveLate(0));
    const until = this.runtime.nowMs + REST_MS_MAX;
    while (this.runtime.nowMs < until && !this.violation) {
      if (this.routers.every(({ alive }) => !alive)) this.startRouter();
      for (const { id, state } of this.topology.shards) {
        if (state === 'retired') continue;
        const newest = this.shards.get(id)?.at(-1);
        if (!newest?.alive) this.startShard(id);
      }
      while (this.runtime.tickets.length > 0 && !this.violation) await this.runtime.carryOut(0, 'at once');
      if (this.isAtRest()) return;
      await this.runtime.pass(Math.min(50, this.runtime.untilNextTimer ?? 50));
    }
    this.violated(`it does not come to rest: ${this.unrest().join('; ')}`);
  }

  /** Acknowledged records of a log are gone; its processes end and are started again. */
  async lose(shardAt: number, records: number): Promise<void> {
    const witnessed = this.topology.shards.filter(({ id, state }) => {
      const last = this.outside.logs.get(id)!.stream.lastSequence;
      const remembers = this.newestWitness(id)?.sequence ?? 0;
      return state !== 'retired' && remembers > Math.max(1, last - records);
    });
    const entry = witnessed[shardAt % Math.max(1, witnessed.length)];
    if (!entry) return;
    const log = this.outside.logs.get(entry.id) as LogModel;
    this.cut.add(entry.id);
    for (const actor of this.shards.get(entry.id) ?? []) actor.kill();
    log.full = false;
    log.stream.truncate(Math.min(records, log.stream.lastSequence - 1));
    const until = this.runtime.nowMs + 60_000;
    while (this.runtime.nowMs < until && !this.violation && !this.damaged.has(entry.id)) {
      if (!this.shards.get(entry.id)?.at(-1)?.alive) this.startShard(entry.id);
      await this.flow(1);
    }
    this.count('losses');
    if (!this.damaged.has(entry.id)) {
      this.violated(`shard ${entry.id} lost acknowledged records, a witness remembers them, and nobody was told`);
    }
  }

  private newestWitness(shard: number): WitnessModel['witness'] | null {
    const all = this.witnesses.filter((entry) => entry.shard === shard).map(({ witness }) => witness);
    return all.sort((a, b) => b.assignment - a.assignment)[0] ?? null;
  }

  private isAtRest(): boolean {
    return this.unrest().length === 0;
  }

  private unrest(): string[] {
    const { topology } = this;
    const unrest: string[] = [];
    for (const { id, state, source, target } of topology.migrations) {
      unrest.push(`migration ${id} from ${source} to ${target} is ${state}`);
    }
    for (const { shard, sealedSequence } of topology.draining)
      unrest.push(`shard ${shard} drains to ${sealedSequence}`);
    for (const { id, state, refolding } of topology.shards) {
      if (state !== 'open' && state !== 'retired') unrest.push(`shard ${id} is ${state}`);
      if (refolding) unrest.push(`shard ${id} is folded again`);
      const log = this.outside.logs.get(id) as LogModel;
      const folded = this.table.watermarks.get(id)?.sequence ?? 0;
      const rows = log.range(folded + 1, log.stream.lastSequence).some(({ bytes }) => hasRows(bytes));
      if (rows) unrest.push(`shard ${id} is folded to ${folded} of ${log.stream.lastSequence}`);
      const newest = this.shards.get(id)?.at(-1);
      // A record whose fate is not known yet: its writer will give up and open again.
      if (newest?.shard && newest.state && newest.phase === 'serving') {
        const sequences = new Set([newest.acknowledged, newest.state.sequence, log.stream.lastSequence]);
        if (sequences.size > 1) unrest.push(`${newest.name} stores a record`);
      }
      if (state !== 'retired' && newest?.phase !== 'serving') unrest.push(`${newest?.name ?? id} is ${newest?.phase}`);
    }
    if (!this.routers.some(({ serves }) => serves)) unrest.push('no router serves');
    if (this.table.dueSetAsideAccounts().length > 0) unrest.push('something is set aside');
    return unrest;
  }

  /** At rest: every transaction has taken effect exactly once, and the cluster takes new ones everywhere. */
  async checkRest(): Promise<void> {
    if (this.violation) return;
    for (const [key, all] of this.accepted) {
      const row = this.table.ledger.get(key)?.row;
      const [account, id] = JSON.parse(key) as [string, string];
      if (!row) this.violated(`${id} of ${account} is in the log of shard ${all[0]?.shard} and not in the ledger`);
      for (const one of all) {
        const kept = [...this.table.conflicts.values()].some(
          (conflict) => conflict.account === account && conflict.id === id && conflict.amount === one.amount,
        );
        if (row && row.amount !== one.amount && !kept) this.violated(`a conflict of ${id} of ${account} is not kept`);
      }
    }
    for (const { row } of this.table.ledger.values()) {
      const { account, id, shard, amount } = row;
      const known = (this.accepted.get(keyOf(account, id)) ?? []).some((one) => one.amount === amount);
      if (shard !== null && !known) this.violated(`${id} of ${account} is in the ledger and in no log`);
      if (!this.clients.find(account, id, amount)) this.violated(`${id} of ${account} was never asked for`);
    }
    for (const { account, id, amount, acknowledged, direct } of this.clients.asked) {
      if (direct && this.table.wasSetBack) continue;
      const row = this.table.ledger.get(keyOf(account, id))?.row;
      if (acknowledged && !row) this.violated(`${id} of ${account} is acknowledged and lost`);
      if (acknowledged && row && row.amount !== amount && this.clients.of(account, id).length === 1) {
        this.violated(`${id} of ${account} has taken effect with another amount`);
      }
    }
    for (const actor of this.aliveShards()) this.checkReplay(actor);
    await this.retriesAll();
    await this.takesNewOnes();
  }

  /** Every client tries everything again: nothing is stored a second time, whoever knows it now. */
  private async retriesAll(): Promise<void> {
    this.submit(0, this.clients.asked, 5_000);
    const until = this.runtime.nowMs + 6_000;
    await this.quiet(() => this.runtime.nowMs >= until);
  }

  private async takesNewOnes(): Promise<void> {
    const fresh = ACCOUNTS.flatMap((account) =>
      POOLS.flatMap((pool) => this.clients.ask(account, pool, Date.now() * 1_000, false) ?? []),
    );
    this.submit(0, fresh, 5_000);
    await this.quiet(() => fresh.every(({ acknowledged }) => acknowledged));
    const refused = fresh.filter(({ acknowledged }) => !acknowledged);
    if (refused.length > 0) {
      this.violated(
        `nobody takes ${refused.map(({ account, pool, refusal }) => `${account} in ${pool} (${refusal})`).join(', ')}`,
      );
    }
    for (const account of ACCOUNTS) {
      let told = false;
      // One read may meet what was lost before; then the client asks again.
      for (let i = 0; i < 3 && !told; i++) {
        const until = this.runtime.nowMs + 5_000;
        this.read(0, account, 5_000, () => {
          told = true;
        });
        await this.quiet(() => told || this.runtime.nowMs >= until);
      }
      if (!told) this.violated(`nobody tells the balance of ${account}: ${this.lastReadError}`);
    }
  }

  private async quiet(done: () => boolean): Promise<void> {
    const until = this.runtime.nowMs + 10_000;
    while (this.runtime.nowMs < until && !this.violation && !done()) await this.flow(1);
  }
}

function logIdOf(shard: number): string {
  return `${shard}`.padStart(32, '0');
}

function hasRows(bytes: Uint8Array): boolean {
  return readRecord(bytes).events.some(({ type }) => type === 'stored');
}

/** All of the spans, their lower or upper half, or a middle part. */
function partOf(spans: readonly SlotSpan[], part: number): SlotSpan[] {
  const slots = [...slotsOf(spans)];
  const [from, to] = [
    [0, 1],
    [0, 0.5],
    [0.5, 1],
    [0.25, 0.75],
  ][part % 4] as [number, number];
  const chosen = slots.slice(Math.floor(slots.length * from), Math.floor(slots.length * to));
  return chosen.reduce<{ from: number; to: number }[]>((all, slot) => {
    const last = all.at(-1);
    if (last?.to === slot) last.to = slot + 1;
    else all.push({ from: slot, to: slot + 1 });
    return all;
  }, []);
}
