import type { SubmitCall } from './submit-call.js';

/** Transactions gathering for one request, and whose they are. */
export interface GatheringBatch {
  readonly calls: readonly SubmitCall[];
  readonly indexes: readonly number[];
  /** Of its first row, on the monotonic clock, milliseconds; no row's is much later. */
  readonly deadline: number;
  /** Whether one more transaction, however long, still fits. */
  readonly hasRoom: boolean;
  /** Whether it is worth a request of its own: it need not wait for the end of the tick. */
  readonly isLarge: boolean;
  /** Whether a request of its own would cost more than what it carries: it waits while others are in flight. */
  readonly isSmall: boolean;
  add(call: SubmitCall, index: number): void;
}

export interface LaneOptions<B extends GatheringBatch> {
  readonly requestsInFlightMax: number;
  readonly newBatch: (deadline: number) => B;
  /** Sends a batch; resolves once its answer was dealt with, and never rejects. */
  readonly send: (batch: B) => Promise<void>;
}

/**
 * Rows whose deadlines are further apart do not share a batch: the shard drops a batch as a whole once it is too late
 * for its first row.
 */
const DEADLINE_SPREAD_MS = 250;
/** With as many requests in flight, a small batch gathers more until one of them is answered. */
const SMALL_IN_FLIGHT_MAX = 2;
/** It gathers no longer than this: two requests that are not answered must not hold up all that comes after. */
const GATHER_MS_MAX = 100;

/**
 * The way to one place: rows gather in an open batch until the end of the tick or until it is large, and while enough
 * requests are in flight, so that a busy place gets fewer and larger ones. What still waits at its deadline is handed to
 * `send` all the same, which says so to those who wait.
 */
export class Lane<B extends GatheringBatch> {
  /** Transactions that wait or are in flight. */
  rows = 0;
  private open: B | null = null;
  /** Until when the open batch may gather, on the monotonic clock. */
  private gathersUntil = 0;
  private readonly full: B[] = [];
  private inFlight = 0;
  private flushing = false;
  private timer: NodeJS.Timeout | undefined;
  /** When the timer looks again: no later than the first moment at which a waiting batch may wait no more. */
  private wakesAt = Number.POSITIVE_INFINITY;

  constructor(private readonly options: LaneOptions<B>) {}

  add(call: SubmitCall, index: number): void {
    let batch = this.open;
    if (batch && !(batch.hasRoom && Math.abs(call.deadline - batch.deadline) <= DEADLINE_SPREAD_MS)) {
      this.full.push(batch);
      batch = null;
    }
    if (!batch) {
      batch = this.options.newBatch(call.deadline);
      this.open = batch;
      this.gathersUntil = performance.now() + GATHER_MS_MAX;
      this.wakeBy(Math.min(batch.deadline, this.gathersUntil));
      this.flushSoon();
    }
    batch.add(call, index);
    this.rows += 1;
    // So that the other side works on it while the rest is made here.
    if (batch.isLarge) this.flush();
  }

  private flushSoon(): void {
    if (this.flushing) return;
    this.flushing = true;
    setImmediate(() => {
      this.flushing = false;
      this.flush();
    });
  }

  private flush(): void {
    for (;;) {
      const batch = this.full[0] ?? this.open;
      if (!batch || !this.mayGo(batch)) return;
      if (batch === this.open) this.open = null;
      else this.full.shift();
      this.send(batch);
    }
  }

  private mayGo(batch: B): boolean {
    const gathers = batch === this.open && batch.isSmall && performance.now() < this.gathersUntil;
    return this.inFlight < (gathers ? SMALL_IN_FLIGHT_MAX : this.options.requestsInFlightMax);
  }

  private send(batch: B): void {
    this.inFlight += 1;
    void this.options.send(batch).then(() => {
      this.inFlight -= 1;
      this.rows -= batch.indexes.length;
      this.flush();
    });
  }

  private wakeBy(at: number): void {
    if (at >= this.wakesAt) return;
    this.wakesAt = at;
    clearTimeout(this.timer);
    // Whatever waits, waits for requests in flight: those keep the process, where anything does.
    this.timer = setTimeout(() => this.wake(), Math.max(0, at - performance.now())).unref();
  }

  private wake(): void {
    this.wakesAt = Number.POSITIVE_INFINITY;
    const now = performance.now();
    for (const batch of this.full.splice(0)) {
      if (batch.deadline <= now) this.send(batch);
      else this.full.push(batch);
    }
    if (this.open && this.open.deadline <= now) {
      const late = this.open;
      this.open = null;
      this.send(late);
    }
    this.flush();
    for (const { deadline } of this.full) this.wakeBy(deadline);
    if (!this.open) return;
    this.wakeBy(now < this.gathersUntil ? Math.min(this.open.deadline, this.gathersUntil) : this.open.deadline);
  }
}
