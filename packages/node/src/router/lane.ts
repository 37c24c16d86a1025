import type { SubmitCall } from './submit-call.js';

/** Transactions gathering for one request, and whose they are. */
export interface GatheringBatch {
  readonly calls: readonly SubmitCall[];
  readonly indexes: readonly number[];
  /** Of its first row, on the monotonic clock, milliseconds; no row's is much later. */
  readonly deadline: number;
  /** Whether one more transaction, however long, still fits. */
  readonly hasRoom: boolean;
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

/**
 * The way to one place: rows gather in an open batch until the end of the tick, or while as many requests are in flight
 * as may be, so that a busy place gets fewer and larger requests.
 */
export class Lane<B extends GatheringBatch> {
  /** Transactions that wait or are in flight. */
  rows = 0;
  private open: B | null = null;
  private readonly full: B[] = [];
  private inFlight = 0;
  private flushing = false;

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
      this.flushSoon();
    }
    batch.add(call, index);
    this.rows += 1;
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
    while (this.inFlight < this.options.requestsInFlightMax) {
      const batch = this.full.shift() ?? this.open;
      if (!batch) return;
      if (batch === this.open) this.open = null;
      this.inFlight += 1;
      void this.options.send(batch).then(() => {
        this.inFlight -= 1;
        this.rows -= batch.indexes.length;
        this.flush();
      });
    }
  }
}
