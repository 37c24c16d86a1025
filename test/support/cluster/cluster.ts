/**
 * A whole cluster in one process: the real classes of shards, routers and supervisors, the model of JetStream, a data
 * table, clients; and what must hold of it all, at every record, at every answer, and at the end.
 */
import {
  abortMigration,
  addShard,
  beginClosing,
  beginMigration,
  firstRecord,
  firstTopology,
  NO_SMALL_STATE,
  needsProcess,
  ownedSpans,
  ownerOf,
  type Pool,
  type ShardEntry,
  type SlotSpan,
  type SpillError,
  shardOf,
  slotOf,
  slotsOf,
  type Topology,
  TopologyConflictError,
} from '@spill/core';
import { type Asked, ClientModel, LARGE_THRESHOLD } from './client-model.js';
import { DataTableModel } from './data-table-model.js';
import { Judge } from './judge.js';
import type { Library } from './library.js';
import { hasRows, LogModel } from './log-model.js';
import { RouterActor, SupervisorActor } from './other-actors.js';
import { Outside } from './ports.js';
import { NODE, ShardActor, TUNING, type WitnessModel } from './shard-actor.js';
import { VirtualRuntime } from './virtual-runtime.js';

const SHARDS = 5;
const ECHOES = 12;
/** Two or three accounts a shard of the pools that have two. */
const ACCOUNTS = ['ada', 'bob', 'cyd', 'dan'];

export class Cluster {
  readonly runtime: VirtualRuntime;
  readonly table = new DataTableModel();
  readonly clients = new ClientModel(ACCOUNTS);
  readonly outside: Outside;
  readonly shards = new Map<number, ShardActor[]>();
  readonly routers: RouterActor[] = [];
  readonly supervisors: SupervisorActor[] = [];
  readonly witnesses: WitnessModel[] = [];
  readonly judge: Judge;
  readonly damaged = new Map<number, string>();
  /** Why a read was refused last. */
  lastReadError = '';
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
    this.outside = new Outside(lib, this.runtime, this.table, first, (before, after) => {
      this.judge.changed(before, after);
      this.endRetired(after);
    });
    this.judge = new Judge(this.outside, this.table, this.clients);
  }

  async start(): Promise<void> {
    this.runtime.install();
    for (const { id } of this.topology.shards) this.createLog(id);
    for (const { id } of this.topology.shards) this.startShard(id);
    this.startRouter();
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

  /** @throws Violation, or the error that something broke with */
  check(): void {
    this.judge.views(this.aliveShards());
    this.judge.check();
  }

  // Processes.

  startShard(id: number): ShardActor | null {
    const entry = shardOf(this.topology, id);
    if (!entry || entry.state === 'damaged' || !needsProcess(entry)) return null;
    const actor = new ShardActor(id, {
      outside: this.outside,
      witnesses: this.witnesses,
      damaged: (shard, reason) => {
        if (!shard.isNewest) return;
        this.damaged.set(id, reason);
        if (!this.judge.cut.has(id))
          this.judge.violated(8, `the healthy log of ${shard.name} was called damaged: ${reason}`);
      },
      broke: (shard, error) => this.judge.broke(`${shard.name} broke`, error),
    });
    const all = this.shards.get(id);
    if (all) all.push(actor);
    else this.shards.set(id, [actor]);
    return actor;
  }

  /** A process has begun to open its log when its successor does; what it asked for then arrives late. */
  async overtake(at: number, [before, after]: readonly [number, number]): Promise<void> {
    const { shards } = this.topology;
    const { id } = shards[at % shards.length] as ShardEntry;
    const overtaken = this.startShard(id);
    await this.flow(before);
    for (let i = this.runtime.tickets.length - 1; i >= 0; i--) {
      if (this.runtime.tickets[i]?.actor === overtaken) this.runtime.delay(i);
    }
    this.startShard(id);
    await this.flow(after);
    while (await this.runtime.arriveLate(0));
  }

  /** A node ends the process of a shard that needs none. */
  private endRetired({ shards }: Topology): void {
    for (const entry of shards) {
      if (!needsProcess(entry)) for (const actor of this.shards.get(entry.id) ?? []) actor.kill('retired');
    }
  }

  startRouter(): void {
    const router = new RouterActor(`router ${++this.named}`, this.outside);
    // Every other one learns of changes only by being told that it is wrong.
    router.deaf = this.routers.length % 2 === 1;
    this.routers.push(router);
  }

  startSupervisor(): void {
    const failed = (message: string): void => this.judge.broke(message);
    // A copy that can differ without a fault would differ for ever on a busy shard.
    const miscopied = (message: string): void => this.judge.violated(7, message);
    this.supervisors.push(new SupervisorActor(`supervisor ${++this.named}`, this.outside, failed, miscopied));
  }

  /** A read of the topology that a lagging replica answers reaches a shard. */
  oldNews(shardAt: number, back: number): void {
    const viewing = this.aliveShards().filter(({ view }) => view !== null);
    const { documents } = this.outside;
    const document = documents[Math.max(0, documents.length - 1 - back)] as string;
    viewing[shardAt % Math.max(1, viewing.length)]?.view?.take(JSON.parse(document) as Topology);
  }

  /** One of the last questions of a supervisor, alive or not, reaches its shard once more. */
  echo(at: number): void {
    const asked = this.supervisors.flatMap((supervisor) => [...supervisor.asked.values()]);
    const message = asked.at(-1 - (at % Math.max(1, Math.min(asked.length, ECHOES))));
    if (message) this.outside.arriveAgain(message);
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

  /** Only the account's slot. */
  moveAccount(account: string, pool: Pool, target: number): void {
    const slot = slotOf(account);
    const source = ownerOf(this.topology, pool, slot).id;
    const slots = [{ from: slot, to: slot + 1 }];
    this.change((newest) => beginMigration(newest, { pool, slots, source, target }));
  }

  /** An open shard of the pool that the account is not in; null: there is none. */
  otherShard(account: string, pool: Pool, at: number): number | null {
    const { topology } = this;
    const source = ownerOf(topology, pool, slotOf(account)).id;
    const others = topology.shards.filter(
      (shard) => shard.pool === pool && shard.id !== source && shard.state === 'open',
    );
    return others[at % Math.max(1, others.length)]?.id ?? null;
  }

  abort(at: number): void {
    const { migrations } = this.topology;
    const migration = migrations[at % migrations.length];
    if (migration) this.change((newest) => abortMigration(newest, migration.id));
  }

  private createLog(shard: number): void {
    if (this.outside.logs.has(shard)) return;
    const log = new LogModel(shard, (message) => this.judge.stored(shard, message));
    this.outside.logs.set(shard, log);
    const horizon = (Date.now() - TUNING.dedupeWindowMs) * 1_000;
    const small = { ...NO_SMALL_STATE, horizon, epoch: this.topology.epoch };
    const first = firstRecord(shard, logIdOf(shard), small);
    log.store({ name: 'creator', alive: true }, first, 0, Date.now() * 1_000);
  }

  createShard(pool: Pool): void {
    const id = this.topology.nextShard;
    if (id > SHARDS + 3) return;
    this.createLog(id);
    this.change((newest) => addShard(newest, { id, pool, node: NODE, logId: logIdOf(id), replicas: 1 }));
    this.startShard(id);
  }

  deleteShard(id: number): void {
    if (shardOf(this.topology, id)?.state !== 'closing') this.change((newest) => beginClosing(newest, id));
  }

  /** The data table is set back to before the last transactions of a shard were folded. */
  bringBack(id: number): void {
    const { stream } = this.outside.logs.get(id) as LogModel;
    const last = stream.read().findLast(({ bytes }) => hasRows(bytes));
    if (last) this.table.setBackBefore(id, last.sequence);
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
        for (const [i, result] of results.entries()) this.judge.answered(asked[i] as Asked, result);
      },
      (error: Error) => this.judge.broke('a submit broke', error),
    );
  }

  read(routerAt: number, account: string, deadlineMs: number, onBalance?: (balance: bigint) => void): void {
    const serving = this.routers.filter(({ serves }) => serves);
    const router = serving[routerAt % serving.length];
    if (!router) return;
    const surely = this.clients.acknowledged(account);
    router.balance(account, deadlineMs).then(
      (balance) => {
        if (balance instanceof this.lib.core.SpillError || 'code' in balance) {
          this.judge.violated(4, `the balance of ${account} is an error: ${(balance as SpillError).message}`);
          return;
        }
        onBalance?.(balance.balance);
        if (this.judge.cut.size === 0) this.judge.balance(account, balance, surely);
      },
      (error: Error) => {
        this.lastReadError = error.message;
        if (!(error instanceof this.lib.core.SpillError)) this.judge.broke('a read broke', error);
      },
    );
  }

  // Going on.

  /** Carries out up to `count` tickets in their order; where there is none, time goes on to the next timer. */
  async flow(count: number): Promise<void> {
    for (let i = 0; i < count && !this.judge.hasFound; i++) {
      if (this.runtime.tickets.length > 0) await this.runtime.carryOut(0, 'at once');
      else await this.runtime.pass(Math.min(20, this.runtime.untilNextTimer ?? 20));
    }
  }

  /** The same, for so long. */
  async flowFor(ms: number): Promise<void> {
    const until = this.runtime.nowMs + ms;
    while (this.runtime.nowMs < until && !this.judge.hasFound) await this.flow(1);
  }

  /** Every shard that should have a process and has none gets one. */
  startMissing(): void {
    for (const { id } of this.topology.shards.filter(needsProcess)) {
      if (!this.shards.get(id)?.at(-1)?.alive) this.startShard(id);
    }
  }
}

function logIdOf(shard: number): string {
  return `${shard}`.padStart(32, '0');
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
