/**
 * One shard at work: everything around the pure core that touches NATS, the disk and the data table.
 *
 * ```
 *  serving ──▶ draining ──▶ gone
 *     ├─▶ refusing   the log takes nothing just now; back by itself
 *     └─▶ damaged    the log lost something; only an operator leads out
 * ```
 *
 * On anything unexpected the process exits and is started again; nothing is repaired in place.
 */
import {
  type DataTable,
  mayAccept,
  Pending,
  type ShardEvent,
  type ShardState,
  type ShardStatus,
  slotOf,
} from '@spill/core';
import type { Tuning } from '../config/settings.js';
import { FoldLoop } from '../fold/fold-loop.js';
import { FoldSource } from '../fold/fold-source.js';
import { Judge } from '../fold/judge.js';
import { SetAsideRetry } from '../fold/set-aside-retry.js';
import { type JetStreamLog, LogMissingError } from '../nats/log.js';
import type { TopologyStore } from '../nats/topology-store.js';
import { atMost } from '../process/at-most.js';
import type { QuestionPorts } from './answer-questions.js';
import { askLedger } from './ask-ledger.js';
import { wallMicros } from './clock.js';
import { CommitLatency } from './commit-latency.js';
import { type AcknowledgedRecord, GroupCommit } from './group-commit.js';
import { HorizonKeeper } from './horizon-keeper.js';
import { HotSpots } from './hot-spots.js';
import { type MigrationPorts, Migrations } from './migrations.js';
import { Purger } from './purger.js';
import type { RecordMarks } from './record-marks.js';
import type { TopologyView } from './topology-view.js';
import type { WitnessFile } from './witness-file.js';

export interface ShardParts {
  readonly state: ShardState;
  readonly foldOnly: boolean;
  readonly assignment: number;
  readonly lastRecordTime: number;
  /** The record in which an operator last accepted a loss; 0: none that matters any more. */
  readonly rebasedAt: number;
  readonly log: JetStreamLog;
  readonly marks: RecordMarks;
  readonly view: TopologyView;
  readonly topologies: TopologyStore;
  readonly table: DataTable;
  /** PGlite does not sync to disk, so nothing of the log is purged for it; and its one connection is everybody's. */
  readonly embedded: boolean;
  readonly witness: WitnessFile;
  readonly tuning: Tuning;
  readonly dataDir: string;
  readonly replayMs: number;
  /** Asks the present process of a migration's source. */
  readonly askForChunk: MigrationPorts['askForChunk'];
}

export interface ShardExits {
  damaged(reason: string): void;
  superseded(detail: string): void;
  /** The process must end and be started again. */
  failed(error: Error): void;
  refolding(refolding: boolean): void;
  warn(message: string): void;
}

const WAITING_BYTES_MAX = 32 * 1024 * 1024;
const AUDIT_MS = 5_000;
const IDLE_RECORD_MICROS = 10_000_000;
const SWEEP_ENTRIES = 4_096;
const FOLD_END_MS = 5_000;

export class Shard {
  readonly commit: GroupCommit;
  readonly pending: Pending;
  private readonly folds: FoldLoop;
  private readonly setAsideRetry: SetAsideRetry;
  private readonly horizon: HorizonKeeper;
  private readonly purger: Purger;
  private readonly latency = new CommitLatency();
  private readonly hotSpots: HotSpots;
  readonly migrations: Migrations;
  private acknowledged: { sequence: number; number: number; hash: string };
  private acknowledgedPlace: number;
  private acknowledgedReplayFrom: number;
  private mode: ShardStatus['state'];
  private reason: string | null = null;
  private timers: NodeJS.Timeout[] = [];
  private auditing: Promise<void> | null = null;

  constructor(
    private readonly parts: ShardParts,
    private readonly exits: ShardExits,
  ) {
    const { state, tuning, log, marks, table, view } = parts;
    const { sequence, number, hash } = state;
    this.mode = parts.foldOnly ? 'fold_only' : 'serving';
    this.acknowledged = { sequence, number, hash };
    this.acknowledgedPlace = state.known.endPlace;
    this.acknowledgedReplayFrom = state.replayFrom;
    this.hotSpots = new HotSpots(state.known);
    this.pending = new Pending(state.known);
    this.pending.acknowledge(0, 0, sequence);
    this.horizon = new HorizonKeeper(
      state,
      {
        windowMicros: tuning.dedupeWindowMs * 1000,
        windowMinMicros: tuning.dedupeWindowMinMs * 1000,
        maxClockSkewMicros: tuning.maxClockSkewMs * 1000,
        idsMax: tuning.idsMax,
      },
      parts.lastRecordTime,
    );
    this.purger = new Purger(log, {
      retentionMicros: tuning.logRetentionMs * 1000,
      retentionBytes: tuning.logRetentionBytes ?? Number.POSITIVE_INFINITY,
      dataDir: parts.dataDir,
    });
    this.commit = new GroupCommit(
      state,
      parts.assignment,
      {
        recordBytesMax: tuning.recordBytesMax,
        waitingBytesMax: WAITING_BYTES_MAX,
        pendingBytesMax: tuning.pendingBytesMax,
        idsMax: tuning.idsMax,
        maxClockSkewMicros: tuning.maxClockSkewMs * 1000,
      },
      {
        append: (bytes, expectedLast) => this.append(bytes, expectedLast),
        housekeeping: () => this.housekeeping(),
        ownedSlots: () => view.ownedSlots,
        pendingBytes: () => marks.bytes,
        onAcknowledged: (record) => this.onAcknowledged(record),
        askLedger: (keys) => askLedger(table, state, keys),
        onFatal: (reason, detail) => (reason === 'fenced' ? exits.superseded(detail) : exits.failed(new Error(detail))),
        onRefusing: (detail) => this.onRefusing(detail),
      },
    );
    const foldedUpTo = (): number => state.small.foldedUpTo;
    const source = new FoldSource(state.known, marks, this.pending, log, foldedUpTo, parts.rebasedAt);
    const judge = new Judge({
      shard: state.shard,
      logId: state.logId,
      assignment: parts.assignment,
      log,
      table,
      topologies: parts.topologies,
      view,
      acknowledged: () => this.acknowledged.sequence,
      foldedUpTo,
    });
    this.folds = new FoldLoop(
      {
        shard: state.shard,
        pool: state.pool,
        assignment: parts.assignment,
        logId: state.logId,
        replicas: view.entry.replicas,
        foldAgeMs: tuning.foldAgeMs,
        foldCount: tuning.foldCount,
        pendingBytesMax: tuning.pendingBytesMax,
        folds: parts.embedded ? 'narrow' : 'wide',
        foldedUpTo: state.small.foldedUpTo,
      },
      {
        table,
        source,
        backlog: () => ({ rows: marks.rows, bytes: marks.bytes, records: marks.records, ageMs: this.backlogAgeMs() }),
        judge: (row, expected) => judge.judge(row, expected),
        ledgerId: () => judge.ledgerId,
        onWatermark: (sequence, how) => this.onWatermark(sequence, how),
        onRefolding: (refolding) => exits.refolding(refolding),
        onDamaged: (why) => this.damage(why),
        onSuperseded: () => exits.superseded('a higher assignment has folded'),
      },
    );
    this.migrations = new Migrations(state, {
      acknowledged: () => ({ place: this.acknowledgedPlace, sequence: this.acknowledged.sequence }),
      migrations: () => view.newest.migrations,
      control: (decide) => this.commit.control(decide),
      askForChunk: parts.askForChunk,
    });
    this.setAsideRetry = new SetAsideRetry(
      table,
      (account) => state.pool === 'credit' && view.ownedSlots[slotOf(account)] === 1,
      (error) => exits.failed(error),
    );
  }

  start(): void {
    this.parts.witness.write({ logId: this.parts.state.logId, ...this.acknowledged });
    this.folds.start((error) => this.exits.failed(error));
    if (this.parts.state.pool === 'credit') this.setAsideRetry.start();
    this.timers.push(
      setInterval(() => this.parts.witness.sync(), 1_000),
      setInterval(() => this.tick(), AUDIT_MS),
    );
  }

  /** The records that opening read back, for purging. */
  replayed(records: readonly { sequence: number; bytes: number; time: number }[]): void {
    for (const { sequence, bytes, time } of records) this.purger.recorded(sequence, bytes, time);
  }

  get takesTransactions(): boolean {
    return this.mode === 'serving' || this.mode === 'refusing';
  }

  /** Why nothing is taken, for the answer `unavailable`. */
  get whyNot(): string {
    return this.reason ?? `the shard is ${this.mode.replace('_', ' ')}`;
  }

  get damaged(): boolean {
    return this.mode === 'damaged';
  }

  /**
   * Commits and answers what has arrived, ends the fold in flight. The caller has stopped the intake. A database that
   * does not answer is not waited for: the next start finds out what it has committed.
   */
  async drain(): Promise<void> {
    await this.commit.drained();
    this.mode = this.mode === 'damaged' ? 'damaged' : 'draining';
    this.commit.stop();
    for (const timer of this.timers) clearInterval(timer);
    await atMost(FOLD_END_MS, Promise.all([this.folds.stop(), this.setAsideRetry.stop()]));
    await this.parts.witness.end();
  }

  /** A newer topology was taken up. */
  topologyChanged(): void {
    if (!this.takesTransactions) return;
    this.commit.nudge();
    this.migrations.settle().catch((error: Error) => this.exits.failed(error));
  }

  /** Ends the log for good, where the topology gives the shard nothing to accept any more. */
  private async close(): Promise<number | null> {
    const { state, view } = this.parts;
    const mayClose = (): boolean =>
      !state.small.closed && view.entry.state === 'closing' && !mayAccept(view.newest, state.shard);
    if (!state.small.closed && !mayClose()) return null;
    let closed = false;
    // Also where it is closed already: another call may have decided that just now.
    await this.commit.control(() => {
      closed = state.small.closed || mayClose();
      return closed && !state.small.closed ? [{ type: 'closed' }] : [];
    });
    if (!closed) return null;
    this.mode = 'fold_only';
    return this.acknowledged.sequence;
  }

  /** Something is missing in the log: no intake, no fold, no purge from here on. */
  damage(why: string): void {
    if (this.mode === 'damaged') return;
    this.mode = 'damaged';
    this.reason = `damaged: ${why}`;
    this.commit.stop();
    for (const timer of this.timers) clearInterval(timer);
    this.folds.stop().catch((error: Error) => this.exits.failed(error));
    this.setAsideRetry.stop().catch((error: Error) => this.exits.failed(error));
    this.exits.damaged(why);
  }

  questionPorts(): QuestionPorts {
    const { state, view } = this.parts;
    return {
      state,
      rebasedAt: this.parts.rebasedAt,
      pending: this.pending,
      acknowledged: () => this.acknowledged.sequence,
      atEpoch: (epoch) => view.atEpoch(epoch),
      ownedSlots: () => view.ownedSlots,
      migrations: this.migrations,
      close: () => this.close(),
      whenAcknowledged: (callback) => this.commit.whenAcknowledged(callback),
      fold: async (sequence) => {
        const before = { folded: this.folds.folded, setAside: this.folds.setAside };
        await this.folds.foldTo(sequence);
        return { folded: this.folds.folded - before.folded, setAside: this.folds.setAside - before.setAside };
      },
      status: () => this.status(),
    };
  }

  status(): ShardStatus {
    const { slots, accounts } = this.hotSpots.report();
    const { state, marks, view, parts } = { ...this.parts, parts: this.parts };
    return {
      shard: state.shard,
      assignment: parts.assignment,
      logId: state.logId,
      pid: process.pid,
      clock: wallMicros(),
      state: this.mode,
      reason:
        this.reason ?? (this.horizon.skewed ? 'clocks differ by more than max_clock_skew: the horizon stands' : null),
      epoch: view.epoch,
      ...this.acknowledged,
      watermark: this.folds.watermark,
      horizon: state.small.horizon,
      known: state.known.size,
      pending: marks.rows,
      pendingBytes: marks.bytes,
      accepted: this.commit.accepted,
      queued: this.commit.queued,
      commitP50Ms: this.latency.percentileMs(50),
      commitP99Ms: this.latency.percentileMs(99),
      foldLagMs: this.backlogAgeMs(),
      foldError: this.folds.error ?? this.setAsideRetry.error,
      setAside: this.folds.setAside,
      conflicts: this.folds.conflicts,
      replayMs: parts.replayMs,
      hotSlots: slots,
      hotAccounts: accounts,
    };
  }

  private async append(bytes: Uint8Array, expectedLast: number): ReturnType<JetStreamLog['append']> {
    const started = performance.now();
    const outcome = await this.parts.log.append(bytes, expectedLast);
    this.latency.record((performance.now() - started) * 1000);
    return outcome;
  }

  /** Before anything else in a record: a newer epoch, then the horizon. */
  private housekeeping(): ShardEvent[] {
    const { state, view } = this.parts;
    const events: ShardEvent[] = [];
    // `closed` is the last event of a log: an opening finds it there.
    if (state.small.closed) return events;
    if (view.epoch > state.small.epoch) events.push({ type: 'epoch', epoch: view.epoch });
    const { watermark } = this.folds;
    // A data table that was set back is folded to where it was first; until then nothing more is forgotten.
    if (watermark !== null && watermark < state.small.foldedUpTo) return events;
    if (this.migrations.holdHorizon) return events;
    return [...events, ...this.horizon.propose(this.pending.oldestAnswered, view.epoch)];
  }

  private onAcknowledged(record: AcknowledgedRecord): void {
    const { state, marks, witness } = this.parts;
    const { sequence, number, hash } = record;
    this.acknowledged = { sequence, number, hash };
    this.acknowledgedPlace = record.toPlace;
    this.acknowledgedReplayFrom = record.replayFrom;
    witness.write({ logId: state.logId, sequence, number, hash });
    marks.add({ sequence, number, hash, rows: record.rows, bytes: record.bytes, now: performance.now() });
    this.pending.acknowledge(record.fromPlace, record.toPlace, sequence);
    this.hotSpots.add(record.fromPlace, record.toPlace);
    this.purger.recorded(sequence, record.bytes, wallMicros());
    state.known.sweep(Math.max(SWEEP_ENTRIES, 2 * record.rows));
    this.folds.notify();
  }

  private onWatermark(sequence: number, how: 'looked' | 'folded'): void {
    if (how === 'looked') {
      this.pending.rebase(sequence);
      this.parts.marks.dropUpTo(sequence);
      return;
    }
    this.parts.marks.dropUpTo(sequence);
    if (sequence > this.parts.state.small.foldedUpTo) this.pending.commitFold(sequence);
    else this.pending.rebase(sequence);
  }

  private onRefusing(detail: string | null): void {
    if (this.mode === 'damaged') return;
    this.mode = detail ? 'refusing' : 'serving';
    this.reason = detail && `the log refuses records: ${detail}`;
    // No stream at all looks like a refusal too.
    if (detail) this.tick();
  }

  private tick(): void {
    if (this.mode !== 'damaged') this.folds.lookAgain();
    this.auditing ??= this.audit()
      .catch((error: Error) => this.exits.failed(error))
      .finally(() => {
        this.auditing = null;
      });
    const idle = this.takesTransactions && this.horizon.sinceProposal > IDLE_RECORD_MICROS;
    if (idle && !this.parts.foldOnly) this.commit.nudge();
  }

  /** Is the log still the one that was written? Then its clock is read, and its front purged. */
  private async audit(): Promise<void> {
    const { log, embedded } = this.parts;
    const expected = this.acknowledged.sequence;
    try {
      const info = await log.info();
      if (info.problems.length > 0) return this.damage(info.problems.join('; '));
      const last = await log.last();
      if (!last || last.sequence < expected || info.lastSequence < expected) {
        const end = Math.min(last?.sequence ?? 0, info.lastSequence);
        return this.damage(`the log ends with record ${end}, but record ${expected} was acknowledged`);
      }
      this.horizon.recordAcknowledged(last.time);
      if (embedded || this.mode === 'damaged') return;
      const { warning } = await this.purger.purge(this.acknowledgedReplayFrom, this.folds.watermark);
      if (warning) this.exits.warn(warning);
    } catch (error) {
      if (error instanceof LogMissingError) return this.damage(error.message);
      // No quorum or a slow server: the next audit looks again. The log connection's own end ends the process.
      this.exits.warn(`the log could not be audited: ${(error as Error).message}`);
    }
  }

  private backlogAgeMs(): number {
    const { oldest, rows } = this.parts.marks;
    return oldest && rows > 0 ? performance.now() - oldest.since : 0;
  }
}
