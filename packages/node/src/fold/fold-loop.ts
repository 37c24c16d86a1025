/**
 * Folds a shard's acknowledged records into the data table, one SQL transaction at a time, as long as the process lives.
 *
 * ```
 *  waiting ──due──▶ watermark known? ──no──▶ read it, judge it against the log ──▶ damaged / superseded: end
 *     ▲                   │ yes                        │ good
 *     │                   ▼ ◀───────────────────────────┘
 *     │                 fold ── folded ──────────────▶ waiting
 *     │                   ├──── differs ─────────────▶ read it, judge it
 *     └──── delay ◀───────┴──── transient, away, blocked: again, with half the batch where that helps
 * ```
 *
 * In a burst there is a rest before each fold, core's `FoldRests`.
 *
 * Due: `fold_count` transactions, or the oldest is `fold_age` old, or somebody asked.
 */
import {
  type DataTable,
  DataTableSchemaError,
  DataTableUnavailableError,
  type FoldFailure,
  type FoldOutcome,
  FoldRests,
  nextFoldAttempt,
  type Pool,
  TransientDataTableError,
  type Watermark,
  type WatermarkVerdict,
} from '@spill/core';
import { type FoldRange, type FoldSize, type FoldSource, LogBrokenError } from './fold-source.js';

export interface FoldLoopSettings {
  readonly shard: number;
  readonly pool: Pool;
  readonly assignment: number;
  readonly logId: string;
  /** Copies of the log. */
  readonly replicas: number;
  readonly foldAgeMs: number;
  readonly foldCount: number;
  /** What may wait to be folded, bytes. */
  readonly pendingBytesMax: number;
  /** `narrow`: where everybody else waits for a fold to end, as with one connection for all. */
  readonly folds: 'wide' | 'narrow';
  /** As far as the log itself knows that it was folded: a watermark below it was set back. */
  readonly foldedUpTo: number;
}

export interface FoldLoopPorts {
  readonly table: DataTable;
  readonly source: FoldSource;
  /** What lies beyond the watermark, and the age of the oldest in milliseconds. */
  backlog(): { rows: number; bytes: number; records: number; ageMs: number };
  /** Reads the log where it must and compares. */
  judge(row: Watermark | null, expectedSequence: number): Promise<WatermarkVerdict>;
  /** The ledger that was judged last. */
  ledgerId(): string | null;
  /** The watermark is at `sequence` for certain: after a look, or after a fold. */
  onWatermark(sequence: number, how: 'looked' | 'folded'): void;
  onRefolding(refolding: boolean): void;
  onDamaged(why: string): void;
  onSuperseded(): void;
}

/** Records without a transaction alone are folded only once this many wait, or somebody asks. */
const EMPTY_RECORDS_MAX = 100;
/** A fold takes more than `fold_count` where more waits, up to this. */
const FOLD_ROWS_MAX = 20_000;
/**
 * Where they are of many accounts up to this, but no more than takes so long at the pace of the fold before, nor so many
 * times what that took. After a fold that met anything unusual, or in a burst, it is as if they were of few.
 */
const WIDE_FOLD_ROWS_MAX = 200_000;
const WIDE_FOLD_MS_MAX = 2_000;
const WIDE_FOLD_GROWTH = 8;
/** A fold's part of `pending_bytes_max` at most: where that is reached, room is to be made again and again, not at once. */
const FOLD_PENDING_SHARE = 4;
/** Longer than the log believes that what it once waited for in vain is lost. */
const STALE_LOG_MS = 90_000;
/** Whether a burst is over is looked at so often. */
const REST_LOOK_MS = 100;
const EVERY_MARK = Number.MAX_SAFE_INTEGER;

interface Target {
  readonly sequence: number;
  readonly resolve: () => void;
}

export class FoldLoop {
  folded = 0;
  setAside = 0;
  conflicts = 0;
  /** Why nothing is folded just now; null: all is well. */
  error: string | null = null;
  private at: Watermark | null = null;
  /** What the last look at the row should find. */
  private expected: number;
  private refoldingTo = 0;
  private attempts = 0;
  private marksMax = EVERY_MARK;
  private wideRowsMax = FOLD_ROWS_MAX;
  private readonly rests: FoldRests;
  /** Of the rest before the next fold, on the monotonic clock; a look may interrupt it. null: not begun. */
  private restEndsAt: number | null = null;
  private setAsideAll = false;
  private wantsLook = false;
  private pausing = false;
  private stopped = false;
  private wake: (() => void) | null = null;
  private timer: NodeJS.Timeout | null = null;
  private targets: Target[] = [];
  private running: Promise<void> | null = null;

  constructor(
    private readonly settings: FoldLoopSettings,
    private readonly ports: FoldLoopPorts,
  ) {
    this.expected = settings.foldedUpTo;
    this.rests = new FoldRests(settings);
  }

  /** null: not looked yet, or not certain. */
  get watermark(): number | null {
    return this.at?.sequence ?? null;
  }

  /** `onError`: an error that is no answer of the data table; the process must end. */
  start(onError: (error: Error) => void): void {
    this.running = this.run().catch(onError);
  }

  /** More was acknowledged. */
  notify(): void {
    if (this.pausing) {
      // A rest, where nothing failed.
      const isRest = this.error === null;
      if (isRest && this.rests.endsRest(this.ports.backlog())) this.wakeUp();
      return;
    }
    const { rows } = this.ports.backlog();
    if (rows >= this.settings.foldCount) this.wakeUp();
    else if (this.wake && !this.timer) this.arm();
  }

  /**
   * Looks at the row though nothing is to be folded: a data table that was set back is otherwise noticed only at the
   * next fold, which in a quiet shard may be never.
   */
  lookAgain(): void {
    this.wantsLook = true;
    this.wakeUp();
  }

  /** Resolves when the watermark is at `sequence` or past it, by a look or a fold that ended after this call. */
  foldTo(sequence: number): Promise<void> {
    return new Promise((resolve) => {
      this.wantsLook = true;
      this.targets.push({ sequence, resolve });
      this.wakeUp();
    });
  }

  /** Resolves when the fold in flight, if any, is over. */
  async stop(): Promise<void> {
    this.stopped = true;
    this.wakeUp();
    await this.running;
  }

  private async run(): Promise<void> {
    while (!this.stopped) {
      await this.untilDue();
      await this.restInBurst();
      if (this.stopped) return;
      const delayMs = await this.step();
      if (delayMs > 0 && !this.stopped) await this.pause(delayMs);
    }
  }

  private async restInBurst(): Promise<void> {
    if (!this.mayRest) return;
    if (this.restEndsAt === null) {
      const restMs = this.rests.restMs(this.ports.backlog(), performance.now());
      if (restMs === 0) return;
      this.restEndsAt = performance.now() + restMs;
      // Large folds are for when it is over.
      this.wideRowsMax = FOLD_ROWS_MAX;
    }
    for (let leftMs = this.restEndsAt - performance.now(); leftMs > 0; leftMs = this.restEndsAt - performance.now()) {
      await this.pause(Math.min(leftMs, REST_LOOK_MS));
      if (!this.mayRest) return;
      if (!this.rests.goesOn(this.ports.backlog(), performance.now())) return;
    }
  }

  private get mayRest(): boolean {
    return this.at !== null && !this.wantsLook && !this.isAwaited && !this.stopped && this.attempts === 0;
  }

  /** One look or one fold. Returns the milliseconds to wait before the next. */
  private async step(): Promise<number> {
    let range: FoldRange | null = null;
    try {
      if (!this.at || this.wantsLook) {
        const row = await this.ports.table.watermark(this.settings.shard);
        this.wantsLook = false;
        if (!this.at || !isAt(row, this.at)) return await this.look(row);
        this.reach();
        return 0;
      }
      const began = performance.now();
      this.restEndsAt = null;
      range = await this.ports.source.next(this.at, this.size);
      // It may have taken several turns, and a damage noticed meanwhile ends all folds.
      if (this.stopped) return 0;
      if (!range) {
        this.reach();
        return 0;
      }
      const sent = performance.now();
      const outcome = await this.fold(this.at, range);
      const delayMs = await this.take(range, outcome);
      if (outcome.outcome !== 'folded') return delayMs;
      const now = performance.now();
      this.rests.folded(range.rows.length, now - began, now);
      const isPlain = outcome.setAside + outcome.dropped + outcome.conflicts === 0;
      this.wideRowsMax =
        isPlain && this.settings.folds === 'wide' ? wideRowsAfter(range.rows.length, now - sent) : FOLD_ROWS_MAX;
      return 0;
    } catch (error) {
      if (error instanceof TransientDataTableError) return this.retry('transient', error.message, range?.marks ?? 1);
      // Whether the fold was committed is not known: the row will tell.
      if (error instanceof DataTableUnavailableError)
        return this.retry('unavailable', error.message, range?.marks ?? 1);
      // A table or a privilege is gone: somebody has to see to that, and transactions are taken meanwhile.
      if (error instanceof DataTableSchemaError) return this.retry('blocked', error.message, range?.marks ?? 1);
      if (error instanceof LogBrokenError) return this.broken(error.message);
      throw error;
    }
  }

  /** A log with several copies may have been read from one that lags: once more, when it can't any longer. */
  private broken(why: string): number {
    if (this.settings.replicas > 1 && this.error !== why) {
      this.error = why;
      return STALE_LOG_MS;
    }
    this.stopped = true;
    this.at = null;
    this.ports.onDamaged(why);
    return 0;
  }

  private get size(): FoldSize {
    return {
      rowsMax: FOLD_ROWS_MAX,
      wideRowsMax: this.wideRowsMax,
      bytesMax: this.settings.pendingBytesMax / FOLD_PENDING_SHARE,
      marksMax: this.marksMax,
    };
  }

  private fold(from: Watermark, range: FoldRange): Promise<FoldOutcome> {
    const { shard, pool, assignment } = this.settings;
    const { to, rows } = range;
    const divisible = range.marks > 1;
    const ledgerId = this.ports.ledgerId();
    const { setAsideAll } = this;
    return this.ports.table.fold({ shard, pool, assignment, from, ledgerId, to, rows, divisible, setAsideAll });
  }

  private async take(range: FoldRange, outcome: FoldOutcome): Promise<number> {
    switch (outcome.outcome) {
      case 'folded':
        this.at = outcome.watermark;
        this.expected = outcome.watermark.sequence;
        this.folded += outcome.applied + outcome.dropped;
        this.setAside += outcome.setAside;
        this.conflicts += outcome.conflicts;
        this.succeeded();
        this.ports.onWatermark(outcome.watermark.sequence, 'folded');
        this.reach();
        return 0;
      case 'watermark_differs':
        return this.look(outcome.watermark);
      case 'superseded':
        this.stopped = true;
        this.ports.onSuperseded();
        return 0;
      case 'blocked':
        return this.retry('blocked', outcome.detail, range.marks);
    }
  }

  private async look(row: Watermark | null): Promise<number> {
    const verdict = await this.ports.judge(row, this.expected);
    if (verdict.verdict === 'damaged' || verdict.verdict === 'superseded') {
      this.stopped = true;
      this.at = null;
      if (verdict.verdict === 'damaged') this.ports.onDamaged(verdict.why);
      else this.ports.onSuperseded();
      return 0;
    }
    const { shard, assignment, logId } = this.settings;
    this.at = row ?? { shard, logId, assignment, sequence: 0, number: 0, hash: '0'.repeat(32) };
    if (verdict.verdict === 'behind') {
      this.refoldingTo = this.expected;
      this.ports.onRefolding(true);
    } else if (this.refoldingTo === 0) {
      // A predecessor may have said so and ended before it had caught up.
      this.ports.onRefolding(false);
    }
    this.expected = this.at.sequence;
    this.ports.onWatermark(this.at.sequence, 'looked');
    this.succeeded();
    this.reach();
    return 0;
  }

  private succeeded(): void {
    this.attempts = 0;
    this.error = null;
    this.setAsideAll = false;
    this.marksMax = EVERY_MARK;
  }

  private retry(failure: FoldFailure, detail: string, marks: number): number {
    this.error = detail;
    this.wideRowsMax = FOLD_ROWS_MAX;
    this.attempts += 1;
    if (failure === 'unavailable') this.at = null;
    const next = nextFoldAttempt(failure, marks, this.attempts, Math.random());
    if (failure === 'transient') this.marksMax = next.records;
    this.setAsideAll = next.setAsideAll;
    return next.delayMs;
  }

  /** Tells those who wait for the watermark, and ends a refold. */
  private reach(): void {
    const sequence = this.at?.sequence ?? -1;
    if (this.refoldingTo > 0 && sequence >= this.refoldingTo) {
      this.refoldingTo = 0;
      this.ports.onRefolding(false);
    }
    const reached = this.targets.filter((target) => target.sequence <= sequence);
    this.targets = this.targets.filter((target) => target.sequence > sequence);
    for (const target of reached) target.resolve();
  }

  /** Somebody waits for the watermark, or balances are off until it is where it was. */
  private get isAwaited(): boolean {
    return this.targets.length > 0 || this.refoldingTo > 0;
  }

  private isDue(): boolean {
    // The first look is due at once: it is what notices an older log or an older database.
    if (!this.at || this.wantsLook || this.isAwaited) return true;
    const { rows, records, ageMs } = this.ports.backlog();
    if (rows === 0) return records >= EMPTY_RECORDS_MAX;
    return rows >= this.settings.foldCount || ageMs >= this.settings.foldAgeMs;
  }

  private async untilDue(): Promise<void> {
    while (!this.stopped && !this.isDue()) {
      await new Promise<void>((resolve) => {
        this.wake = resolve;
        this.arm();
      });
    }
  }

  /** Wakes when the oldest backlog comes of age; without backlog `notify` arms it. */
  private arm(): void {
    const { rows, ageMs } = this.ports.backlog();
    if (rows === 0) return;
    if (this.timer) clearTimeout(this.timer);
    this.timer = setTimeout(() => this.wakeUp(), Math.max(1, this.settings.foldAgeMs - ageMs));
  }

  /** Ends early where somebody asks for a fold or a look, or for the end; a rest also where too much waits. */
  private async pause(delayMs: number): Promise<void> {
    this.pausing = true;
    await new Promise<void>((resolve) => {
      this.wake = resolve;
      this.timer = setTimeout(() => this.wakeUp(), delayMs);
    });
    this.pausing = false;
  }

  private wakeUp(): void {
    if (this.timer) clearTimeout(this.timer);
    this.timer = null;
    const { wake } = this;
    this.wake = null;
    wake?.();
  }
}

function wideRowsAfter(rows: number, ms: number): number {
  const most = Math.min(WIDE_FOLD_ROWS_MAX, WIDE_FOLD_GROWTH * rows, (rows / ms) * WIDE_FOLD_MS_MAX);
  return Math.max(FOLD_ROWS_MAX, most);
}

/** Whether the row is the one that was seen or left last; none stands for nothing folded. */
function isAt(row: Watermark | null, at: Watermark): boolean {
  return row ? row.sequence === at.sequence && row.hash === at.hash : at.sequence === 0;
}
