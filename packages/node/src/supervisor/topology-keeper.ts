/**
 * The active supervisor's work on the topology, again and again as long as it holds the lease: carry migrations on,
 * take away what is drained, lead closing shards to their end. Each round looks at the document and at the shards, and
 * does what is next; nothing is remembered from one round to the next that could not be seen again.
 *
 * ```
 *  closing ──slots away──▶ closing ──`closed` in its log──▶ closed ──folded to the end──▶ retired ──retention──▶ log gone
 * ```
 */
import {
  beginMigration,
  type DataTable,
  DataTableUnavailableError,
  isDrainedIn,
  type Migration,
  type MigrationLimits,
  markClosed,
  markLogDeleted,
  markRefolding,
  markRetired,
  markRetiredDamaged,
  mayAccept,
  ownedSpans,
  removeDrained,
  type ShardEntry,
  type Topology,
  TopologyConflictError,
  TransientDataTableError,
  type Watermark,
} from '@spill/core';
import type { Lease } from '../nats/lease.js';
import { isNatsAway } from '../nats/nats-away.js';
import type { TopologyStore } from '../nats/topology-store.js';
import { runMigration } from './migration-runner.js';
import type { ShardAsker } from './shard-asker.js';
import type { ShardPlacer } from './shard-placer.js';

export interface TopologyKeeperOptions {
  readonly topology: TopologyStore;
  readonly lease: Lease;
  readonly leaseTtlMs: number;
  readonly ask: ShardAsker;
  readonly table: DataTable;
  readonly limits: MigrationLimits;
  readonly logRetentionMs: number;
  readonly placer: ShardPlacer;
  deleteLog(shard: number): Promise<void>;
  onStep(migration: Migration, step: string): void;
  log(message: string): void;
}

const ROUND_MS = 250;
const ANSWER_MS = 1_000;
const RETIRED_LOOK_MS = 5_000;
const DELETED_LOOK_MS = 30_000;

export class TopologyKeeper {
  private readonly running = new Map<number, Promise<void>>();
  private readonly stopping = new AbortController();
  /** When the watermark of a retired shard was last looked at, on the monotonic clock. */
  private readonly lookedAtRetired = new Map<number, number>();
  private round: Promise<void> | null = null;
  private timers: NodeJS.Timeout[] = [];
  private lastTrouble = '';
  /** Why the data table could not tell in this round. */
  private tableTrouble: Error | null = null;

  constructor(private readonly options: TopologyKeeperOptions) {}

  get active(): boolean {
    return this.options.lease.isHeld;
  }

  start(): void {
    const renew = (): void => {
      this.options.lease.renew().catch((error: Error) => this.trouble(error));
    };
    renew();
    this.timers = [setInterval(renew, this.options.leaseTtlMs / 5), setInterval(() => this.wake(), ROUND_MS)];
  }

  /** A round at once: something was asked for. */
  wake(): void {
    if (!this.active || this.stopping.signal.aborted) return;
    this.round ??= this.doRound()
      .catch((error: Error) => this.trouble(error))
      .finally(() => {
        this.round = null;
      });
  }

  async stop(): Promise<void> {
    for (const timer of this.timers) clearInterval(timer);
    this.stopping.abort();
    await this.round;
    await Promise.all(this.running.values());
    await this.options.lease.release().catch((error: Error) => this.trouble(error));
  }

  private async doRound(): Promise<void> {
    const { topology } = await this.options.topology.require();
    // First of all: a shard that nobody runs takes nothing.
    await this.options.placer.round(topology);
    for (const { id } of topology.migrations) this.run(id);
    this.tableTrouble = null;
    let troubled = false;
    // One that waits, for the data table or for its process, holds no other one up.
    const each = async <T>(all: Iterable<T>, work: (one: T) => Promise<void>): Promise<void> => {
      for (const one of all) {
        if (this.stopping.signal.aborted) return;
        try {
          await work(one);
        } catch (error) {
          troubled = true;
          this.trouble(error as Error);
        }
      }
    };
    await each(new Set(topology.draining.map(({ shard }) => shard)), (shard) => this.removeDrained(topology, shard));
    await each(topology.shards, async (shard) => {
      if (shard.state === 'closing') await this.close(topology, shard);
      else if (shard.state === 'closed') await this.retire(topology, shard);
      else if (shard.state === 'retired') await this.keepRetired(topology, shard);
    });
    if (!troubled) this.lastTrouble = '';
  }

  private run(id: number): void {
    if (this.running.has(id)) return;
    const { topology, ask, limits, onStep } = this.options;
    const run = runMigration(id, { topology, ask, limits, onStep, signal: this.stopping.signal })
      // The next round runs it again, from where it stands then.
      .catch((error: Error) => this.trouble(error))
      .finally(() => this.running.delete(id));
    this.running.set(id, run);
  }

  /** How far a shard is folded: by its own word, or, where no process of it answers, by the data table's. */
  private async watermark(topology: Topology, shard: number): Promise<number | null> {
    const answer = await this.options.ask(topology, shard, { ask: 'status' }, ANSWER_MS);
    if (answer?.answer === 'status' && answer.status.watermark !== null) return answer.status.watermark;
    return (await this.tableWatermark(shard))?.sequence ?? null;
  }

  /** Where the data table does not answer, it is asked once a round: each time-out holds up the next one's placing. */
  private async tableWatermark(shard: number): Promise<Watermark | null> {
    if (this.tableTrouble) throw this.tableTrouble;
    try {
      return await this.options.table.watermark(shard);
    } catch (error) {
      this.tableTrouble = error as Error;
      throw error;
    }
  }

  private async removeDrained(topology: Topology, shard: number): Promise<void> {
    const watermark = await this.watermark(topology, shard);
    if (watermark !== null) await this.options.topology.change((newest) => removeDrained(newest, shard, watermark));
    // Nothing else may come there that would make a fold due.
    await this.options.ask(topology, shard, { ask: 'fold' }, ANSWER_MS);
  }

  private async close(topology: Topology, shard: ShardEntry): Promise<void> {
    if (topology.migrations.some((migration) => migration.source === shard.id || migration.target === shard.id)) return;
    const slots = ownedSpans(topology, shard.pool, shard.id);
    if (slots.length > 0) {
      const target = fewestSlots(topology, shard);
      if (target === null) return;
      const request = { pool: shard.pool, slots, source: shard.id, target };
      await this.change((newest) => beginMigration(newest, request));
      return;
    }
    if (mayAccept(topology, shard.id)) return;
    const answer = await this.options.ask(topology, shard.id, { ask: 'close', epoch: topology.epoch }, ANSWER_MS);
    if (answer?.answer !== 'close') return;
    await this.change((newest) => markClosed(newest, shard.id, answer.sequence));
    this.options.log(`shard ${shard.id} is closed with record ${answer.sequence}`);
  }

  private async retire(topology: Topology, shard: ShardEntry): Promise<void> {
    // The last record holds no transaction, so no fold is due for it by itself.
    await this.options.ask(topology, shard.id, { ask: 'fold' }, ANSWER_MS);
    const watermark = await this.watermark(topology, shard.id);
    if (watermark === null || shard.closedSequence === undefined || watermark < shard.closedSequence) return;
    if (topology.draining.some((draining) => draining.shard === shard.id)) return;
    await this.change((newest) => markRetired(newest, shard.id, new Date().toISOString()));
    this.options.log(`shard ${shard.id} is folded to its end and retired`);
  }

  /**
   * A retired shard's log stays until the retention has passed. Where the data table was set back to before its end, it
   * is folded again first, by a process that it has for so long. Where the log is gone by then, transactions are lost.
   */
  private async keepRetired(topology: Topology, shard: ShardEntry): Promise<void> {
    const looked = this.lookedAtRetired.get(shard.id);
    const everyMs = shard.logDeleted ? DELETED_LOOK_MS : RETIRED_LOOK_MS;
    if (!shard.refolding && looked !== undefined && performance.now() - looked < everyMs) return;
    this.lookedAtRetired.set(shard.id, performance.now());
    const watermark = await this.tableWatermark(shard.id);
    if (shard.logDeleted) {
      if (isDrainedIn(shard, watermark)) return;
      const reason = `the data table was set back to record ${watermark?.sequence ?? 0}, and the log is deleted up to ${shard.drainedTo}`;
      await this.change((newest) => markRetiredDamaged(newest, shard.id, reason));
      this.options.log(`shard ${shard.id} is damaged: ${reason}`);
      return;
    }
    if (watermark?.logId !== shard.logId || watermark.sequence < (shard.closedSequence ?? 0)) {
      if (!shard.refolding) this.options.log(`the data table was set back: shard ${shard.id} is folded again`);
      await this.change((newest) => markRefolding(newest, shard.id, true));
      await this.options.ask(topology, shard.id, { ask: 'fold' }, ANSWER_MS);
      return;
    }
    if (shard.refolding) await this.change((newest) => markRefolding(newest, shard.id, false));
    const age = Date.now() - Date.parse(shard.retiredAt ?? '');
    if (!(age >= this.options.logRetentionMs)) return;
    await this.options.deleteLog(shard.id);
    await this.change((newest) => markLogDeleted(newest, shard.id));
    this.options.log(`the log of shard ${shard.id} is deleted`);
  }

  private async change(change: (topology: Topology) => Topology | null): Promise<void> {
    try {
      await this.options.topology.change(change);
    } catch (error) {
      // Another supervisor, or an operator, was quicker; the next round looks again.
      if (!(error instanceof TopologyConflictError)) throw error;
    }
  }

  /** What passes by itself is said once. */
  private trouble(error: Error): void {
    const passes =
      isNatsAway(error) || error instanceof DataTableUnavailableError || error instanceof TransientDataTableError;
    const message = `the supervisor ${passes ? 'waits' : 'failed'}: ${error.message}`;
    if (message !== this.lastTrouble) this.options.log(message);
    this.lastTrouble = message;
  }
}

/** The open shard of the same pool with the fewest slots; null: there is none. */
function fewestSlots(topology: Topology, closing: ShardEntry): number | null {
  const size = (shard: ShardEntry): number =>
    ownedSpans(topology, shard.pool, shard.id).reduce((sum, { from, to }) => sum + to - from, 0);
  const others = topology.shards
    .filter((shard) => shard.pool === closing.pool && shard.id !== closing.id && shard.state === 'open')
    .sort((a, b) => size(a) - size(b) || a.id - b.id);
  return others[0]?.id ?? null;
}
