/**
 * What must hold of a cluster, at every record, at every change of the topology, at every answer, and at the end. What
 * it finds says which invariant of the design is broken; whatever else goes wrong is no verdict on any of them.
 */
import {
  acceptedRows,
  type LogRecord,
  ownerOf,
  POOLS,
  readRecord,
  recordHash,
  type SubmitResult,
  shardOf,
  slotOf,
  type Topology,
} from '@spill/core';
import type { AccountBalance } from '../../../packages/node/dist/router/balance-reader.js';
import { comparable } from '../comparable-state.js';
import type { Asked, ClientModel } from './client-model.js';
import { type DataTableModel, keyOf } from './data-table-model.js';
import type { LogModel, StoredMessage } from './log-model.js';
import type { Outside } from './ports.js';
import { type ShardActor, TUNING } from './shard-actor.js';

/**
 * 1: acknowledged is in one log and once in the database; 2: an id takes effect once; 3: one acceptor a slot, and one in
 * time; 4: balances; 5: state is replay; 6: stale processes change nothing; 7: everything ends; 8: loss is reported.
 */
export type Invariant = 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8;

export class Violation extends Error {
  override readonly name = 'Violation';

  constructor(
    readonly invariant: Invariant,
    finding: string,
  ) {
    super(`invariant ${invariant}: ${finding}`);
  }
}

interface Accepted {
  readonly shard: number;
  readonly sequence: number;
  readonly amount: bigint;
  readonly timestamp: number;
}

/** What the records of a log have said so far. */
interface LogSoFar {
  assignment: number;
  epoch: number;
  horizon: number;
  closed: boolean;
  readonly settled: Set<number>;
}

export class Judge {
  /** Somebody has cut a log: it must be called damaged, and nothing else is promised of it. */
  readonly cut = new Set<number>();
  /** What has come about, to see that a run is worth something. */
  readonly stats: Record<string, number> = {};
  private readonly accepted = new Map<string, Accepted[]>();
  private readonly logs = new Map<number, LogSoFar>();
  private readonly epochs = new Map<ShardActor, number>();
  private found: Error | null = null;

  constructor(
    private readonly outside: Outside,
    private readonly table: DataTableModel,
    private readonly clients: ClientModel,
  ) {}

  get hasFound(): boolean {
    return this.found !== null;
  }

  /** Throws what was found, where it can be caught. @throws Violation, or the error that something broke with */
  check(): void {
    if (this.found) throw this.found;
  }

  violated(invariant: Invariant, finding: string): void {
    this.found ??= new Violation(invariant, finding);
  }

  /** Something of the product or of its models fell over. */
  broke(what: string, cause?: Error): void {
    this.found ??= new Error(`${what}${cause ? `: ${cause.stack}` : ''}`, { cause });
  }

  count(what: string): void {
    this.stats[what] = (this.stats[what] ?? 0) + 1;
  }

  stored(shard: number, { sequence, bytes }: StoredMessage): void {
    const record = readRecord(bytes);
    this.follows(shard, sequence, record);
    const { topology } = this.outside;
    for (const { account, id, amount, timestamp } of acceptedRows(record)) {
      const { pool } = shardOf(topology, shard)!;
      const what = `${id} of ${account} in record ${sequence} of shard ${shard}`;
      const owner = ownerOf(topology, pool, slotOf(account)).id;
      if (owner !== shard) this.violated(3, `${what}: the slot is shard ${owner}'s`);
      const key = keyOf(account, id);
      const all = this.accepted.get(key) ?? [];
      this.count(all.length > 0 ? 'stored again' : 'stored');
      const twice = all.find((one) => one.amount === amount && one.timestamp === timestamp);
      const stamped = this.clients.find(account, id, amount)?.stamped === true;
      if (twice && !stamped && !this.cut.has(twice.shard)) {
        this.violated(2, `${what} is stored in record ${twice.sequence} of shard ${twice.shard} already`);
      }
      all.push({ shard, sequence, amount, timestamp });
      this.accepted.set(key, all);
    }
  }

  /** Nothing in a log is of a process, a topology or a migration that has passed. */
  private follows(shard: number, sequence: number, { assignment, epoch, events }: LogRecord): void {
    if (this.cut.has(shard)) return;
    const what = `record ${sequence} of shard ${shard}`;
    const log = this.logs.get(shard) ?? { assignment: 0, epoch: 0, horizon: 0, closed: false, settled: new Set() };
    this.logs.set(shard, log);
    if (assignment < log.assignment)
      this.violated(6, `${what} is of assignment ${assignment}, after ${log.assignment}`);
    if (epoch < log.epoch) this.violated(6, `${what} acts on epoch ${epoch}, after ${log.epoch}`);
    log.assignment = assignment;
    log.epoch = epoch;
    for (const event of events) {
      if (log.closed) this.violated(6, `${what}: '${event.type}' follows the end of the log`);
      log.closed = event.type === 'closed';
      if (event.type === 'settled') log.settled.add(event.migration);
      if (event.type === 'forgotten') log.horizon = Math.max(log.horizon, event.horizon);
      if (event.type === 'sealed' && event.horizon < log.horizon) {
        this.violated(2, `${what}: the seal vouches for ids from ${event.horizon} on, forgotten up to ${log.horizon}`);
      }
      const late = event.type === 'sealed' || event.type === 'adopted' || event.type === 'ready';
      if (late && log.settled.has(event.migration)) {
        this.violated(6, `${what}: '${event.type}' of migration ${event.migration}, which has its outcome`);
      }
    }
  }

  changed(before: Topology, after: Topology): void {
    if (after.epoch <= before.epoch) this.violated(6, `epoch ${after.epoch} follows ${before.epoch}`);
    for (const shard of before.shards) {
      const then = shardOf(after, shard.id);
      if (!then) this.violated(6, `shard ${shard.id} is gone`);
      else if (shard.state === 'retired' && then.state !== 'retired') {
        // But for a loss: what its log held is nowhere any more.
        if (then.state !== 'damaged' || !shard.logDeleted) this.violated(6, `shard ${shard.id} came back`);
      } else if (then.assignment < shard.assignment) this.violated(6, `an assignment of shard ${shard.id} went back`);
    }
    for (const { id, state } of after.migrations) {
      const was = before.migrations.find((migration) => migration.id === id)?.state;
      if (state === was) continue;
      this.count(`migrations ${state}`);
      if (was === 'committed' || was === 'aborted') this.violated(6, `migration ${id} was ${was} and is ${state}`);
    }
    for (const { id, refolding } of after.shards) {
      if (refolding && !shardOf(before, id)?.refolding) this.count('refolding');
    }
    for (const pool of POOLS) {
      for (const range of after.owners[pool]) {
        const state = shardOf(after, range.shard)?.state;
        if (state === 'closed' || state === 'retired') this.violated(3, `slots of ${pool} belong to a ${state} shard`);
      }
    }
  }

  /** A shard never takes up an older topology than it has. */
  views(shards: readonly ShardActor[]): void {
    for (const actor of shards) {
      const epoch = actor.view?.epoch ?? 0;
      const before = this.epochs.get(actor) ?? 0;
      if (epoch < before) this.violated(6, `${actor.name} goes back from epoch ${before} to ${epoch}`);
      this.epochs.set(actor, epoch);
    }
  }

  answered(asked: Asked, result: SubmitResult): void {
    const { account, id, amount } = asked;
    this.count(`answered ${result.status === 'rejected' ? result.error.code : result.status}`);
    const what = `${id} of ${account}`;
    if (result.status === 'rejected') {
      const { code, message } = result.error;
      asked.refusal = `${code}: ${message}`;
      if (code === 'id_conflict' && this.clients.of(account, id).length === 1) {
        this.violated(2, `${what} is called a conflict with itself`);
      }
      const edge = Date.now() * 1_000 - TUNING.dedupeWindowMs * 1_000;
      if (code === 'expired' && asked.timestamp >= edge && !asked.stamped)
        this.violated(2, `${what} is called expired`);
      if (code === 'internal' || code === 'malformed') this.broke(`${what}: ${message}`);
      return;
    }
    const { shard, sequence, status } = result;
    if (shard !== null && !this.cut.has(shard)) {
      const there = (this.accepted.get(keyOf(account, id)) ?? []).some(
        (one) => one.shard === shard && one.sequence === sequence && one.amount === amount,
      );
      if (!there) {
        this.violated(1, `${what} is answered ${status} in record ${sequence} of shard ${shard}: it is not there`);
      }
    }
    asked.acknowledged = true;
    if (shard === null) asked.direct = true;
  }

  /** `surely`: what was acknowledged before the balance was asked for. */
  balance(account: string, told: AccountBalance, surely: readonly Asked[]): void {
    this.count('balances judged');
    const held = surely.filter(({ direct }) => !(direct && this.table.wasSetBack));
    const wrong = this.clients.judgeBalance(account, told.balance, held);
    if (!wrong || this.pendingDuplicates(account, told.balance, held)) return;
    const { row, set_aside: setAside, pending } = told;
    const sum = `${row} + ${setAside} + ${pending} as the balance of ${account}`;
    this.violated(4, `${sum}: ${wrong}; ${this.describe(account)}`);
  }

  /**
   * Whether the balance is right but for ids that spill stamped, were forgotten, and came again: each such copy may be
   * stored, and counts until its fold drops it.
   */
  private pendingDuplicates(account: string, balance: bigint, held: readonly Asked[]): boolean {
    const copies = this.clients.asked
      .filter((asked) => asked.account === account && asked.stamped)
      .flatMap(({ id, amount }) => (this.accepted.get(keyOf(account, id)) ?? []).slice(1).map(() => amount));
    const explained = (rest: bigint, at: number): boolean => {
      const copy = copies[at];
      if (copy === undefined) return this.clients.judgeBalance(account, rest, held) === null;
      return explained(rest, at + 1) || explained(rest - copy, at + 1);
    };
    return explained(balance, 0);
  }

  /** A shard with nothing in flight is the replay of its log from where its last record says. */
  replay(actor: ShardActor): void {
    const { state } = actor;
    if (!actor.alive || !state || actor.phase !== 'serving' || !actor.isNewest) return;
    const log = this.outside.logs.get(actor.id) as LogModel;
    if (log.stream.lastSequence !== state.sequence || actor.acknowledged !== state.sequence) return;
    const { pool, largeThreshold, idHashKey } = state;
    const { initialShardState, replayRecord } = this.outside.lib.core;
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
    if (a !== b) this.violated(5, `${actor.name} is not the replay of its log from ${from}: ${a} ≠ ${b}`);
  }

  /** At rest: every transaction has taken effect exactly once. */
  ledger(): void {
    const { ledger, conflicts } = this.table;
    for (const [key, all] of this.accepted) {
      const row = ledger.get(key)?.row;
      const [account, id] = JSON.parse(key) as [string, string];
      if (!row) this.violated(1, `${id} of ${account} is in the log of shard ${all[0]?.shard} and not in the ledger`);
      for (const one of all) {
        const kept = [...conflicts.values()].some(
          (conflict) => conflict.account === account && conflict.id === id && conflict.amount === one.amount,
        );
        if (row && row.amount !== one.amount && !kept)
          this.violated(1, `a conflict of ${id} of ${account} is not kept`);
      }
    }
    for (const { row } of ledger.values()) {
      const { account, id, shard, amount } = row;
      const known = (this.accepted.get(keyOf(account, id)) ?? []).some((one) => one.amount === amount);
      if (shard !== null && !known) this.violated(1, `${id} of ${account} is in the ledger and in no log`);
      if (!this.clients.find(account, id, amount)) this.violated(1, `${id} of ${account} was never asked for`);
    }
    for (const { account, id, amount, acknowledged, direct } of this.clients.asked) {
      if (direct && this.table.wasSetBack) continue;
      const row = ledger.get(keyOf(account, id))?.row;
      if (acknowledged && !row) this.violated(1, `${id} of ${account} is acknowledged and lost`);
      if (acknowledged && row && row.amount !== amount && this.clients.of(account, id).length === 1) {
        this.violated(1, `${id} of ${account} has taken effect with another amount`);
      }
    }
  }

  /** Where an account's transactions are, for the sentence about what is wrong with them. */
  private describe(account: string): string {
    const places = this.clients.asked
      .filter((asked) => asked.account === account)
      .map(({ id, amount, acknowledged }) => {
        const row = this.table.ledger.get(keyOf(account, id))?.row;
        const logs = (this.accepted.get(keyOf(account, id)) ?? []).map((one) => `${one.shard}:${one.sequence}`);
        const ledger = row ? `${row.state} from ${row.shard}:${row.sequence}` : 'not in the ledger';
        return `${id} ${amount}${acknowledged ? '' : '?'} in ${logs.join(' and ')}, ${ledger}`;
      });
    const { shards, draining } = this.outside.topology;
    const folded = [...this.table.watermarks].map(([shard, { sequence }]) => `${shard}:${sequence}`);
    const again = shards.filter(({ refolding }) => refolding).map(({ id }) => id);
    return `${places.join('; ')}; folded ${folded}; again ${again}; draining ${draining.map(({ shard }) => shard)}`;
  }
}
