export interface FoldRestsSettings {
  readonly foldCount: number;
  readonly pendingBytesMax: number;
}

/** What waits to be folded. */
export interface Backlog {
  readonly rows: number;
  readonly bytes: number;
  /** Since the oldest of it was acknowledged, milliseconds. */
  readonly ageMs: number;
}

/** So many times what folds take arrives where a burst begins, and where it is over. */
const BEGINS = 1.5;
const ENDS = 0.5;
const REST = 15;
const REST_MS_MAX = 1_000;
/** What a fold takes in a burst, about. */
const FOLD_ROWS = 20_000;
/** A fold of fewer is quick or slow by itself, and says nothing of how many could be folded. */
const TELLING_ROWS = 10_000;
/** So long after the last that did, nothing is known: one slow fold must not have all later ones rest. */
const TELLING_MS = 60_000;

/**
 * How long folds rest in a burst.
 *
 * Where much more arrives than is folded, no fold catches up, and each takes processor and disk from the intake: before
 * each there is a rest then of fifteen times what it takes, a second at most. It ends once little arrives any more, or
 * half of what may wait does.
 */
export class FoldRests {
  /** Transactions and milliseconds of the folds that tell, each counting half as much as the one after it. */
  private foldedRows = 0;
  private foldedMs = 0;
  private toldAt = Number.NEGATIVE_INFINITY;
  /** Of what waited when it was counted last, what still does. */
  private countedRows = 0;
  private countedAt = Number.NEGATIVE_INFINITY;

  constructor(private readonly settings: FoldRestsSettings) {}

  folded(rows: number, ms: number, now: number): void {
    this.countedRows = Math.max(0, this.countedRows - rows);
    if (rows < Math.min(this.settings.foldCount, TELLING_ROWS)) return;
    this.toldAt = now;
    this.foldedRows = rows + this.foldedRows / 2;
    this.foldedMs = ms + this.foldedMs / 2;
  }

  /** How long the next fold is to wait, milliseconds; 0: this is no burst. `now`: monotonic milliseconds. */
  restMs(backlog: Backlog, now: number): number {
    if (!this.arrivesFaster(BEGINS, backlog, now)) return 0;
    const foldMs = (Math.min(backlog.rows, FOLD_ROWS) * this.foldedMs) / this.foldedRows;
    return Math.min(REST * foldMs, REST_MS_MAX);
  }

  /** Whether a burst that has begun goes on. */
  goesOn(backlog: Backlog, now: number): boolean {
    return this.arrivesFaster(ENDS, backlog, now);
  }

  /** Whether so much waits that there is no rest, also where one has begun. */
  endsRest({ bytes }: Pick<Backlog, 'bytes'>): boolean {
    return bytes > this.settings.pendingBytesMax / 2;
  }

  /** Since this was asked last, than so many times what folds take. */
  private arrivesFaster(times: number, backlog: Backlog, now: number): boolean {
    const { rows, ageMs } = backlog;
    const arrived = rows - this.countedRows;
    const elapsedMs = Math.min(now - this.countedAt, ageMs);
    this.countedRows = rows;
    this.countedAt = now;
    if (now - this.toldAt > TELLING_MS || this.endsRest(backlog)) return false;
    return arrived * this.foldedMs > times * this.foldedRows * elapsedMs;
  }
}
