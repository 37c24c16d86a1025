import { ACCOUNT_BYTES_MAX, BATCH_ROW_BYTES, BATCH_ROWS_MAX, ID_BYTES_MAX } from '@spill/core';
import { ShardBatch } from './shard-batch.js';
import type { SubmitCall } from './submit-call.js';

/** What one more row can add to a batch, in bytes. */
const ROW_BYTES_MAX = ACCOUNT_BYTES_MAX + 1 + ID_BYTES_MAX + BATCH_ROW_BYTES + 1;

/**
 * Rows whose deadlines are further apart do not share a batch: the shard drops a batch as a whole once it is too late
 * for its first row.
 */
const DEADLINE_SPREAD_MS = 250;

/** With no attempt for so long, nothing is known about the time between. */
const UNSEEN_MS_MAX = 1_000;

/** Every attempt at one process, from `since` to `last`, has met no responders; monotonic milliseconds. */
interface Unreachable {
  readonly assignment: number;
  readonly since: number;
  readonly last: number;
}

export interface LaneLimits {
  readonly batchBytesMax: number;
  readonly requestsInFlightMax: number;
}

/**
 * The way to one shard: rows gather in an open batch until the end of the tick, or while as many requests are in flight
 * as may be, so that a busy shard gets fewer and larger requests.
 */
export class Lane {
  /** Transactions that wait or are in flight. */
  rows = 0;
  private unreachable: Unreachable | null = null;
  private open: ShardBatch | null = null;
  private full: ShardBatch[] = [];
  private inFlight = 0;
  private flushing = false;

  constructor(
    readonly shard: number,
    private readonly limits: LaneLimits,
    /** Sends a batch; resolves once its answer was dealt with, and never rejects. */
    private readonly send: (lane: Lane, batch: ShardBatch) => Promise<void>,
  ) {}

  add(call: SubmitCall, index: number): void {
    let batch = this.open;
    if (batch && !this.hasRoom(batch, call.deadline)) {
      this.full.push(batch);
      batch = null;
    }
    if (!batch) {
      batch = new ShardBatch(call.deadline);
      this.open = batch;
      this.flushSoon();
    }
    batch.add(call, index);
    this.rows += 1;
  }

  /** An attempt at the process of an assignment met no responders. A process newly started counts from its start. */
  noResponders(assignment: number, now: number): void {
    const before = this.unreachable;
    const goesOn = before?.assignment === assignment && now - before.last <= UNSEEN_MS_MAX;
    this.unreachable = { assignment, since: goesOn ? before.since : now, last: now };
  }

  /** Something listens. */
  reachable(): void {
    this.unreachable = null;
  }

  /** For how long every attempt at this process has met no responders. */
  unreachableMs(assignment: number): number {
    return this.unreachable?.assignment === assignment ? this.unreachable.last - this.unreachable.since : 0;
  }

  private hasRoom(batch: ShardBatch, deadline: number): boolean {
    return (
      batch.byteLength + ROW_BYTES_MAX <= this.limits.batchBytesMax &&
      batch.rows < BATCH_ROWS_MAX &&
      Math.abs(deadline - batch.deadline) <= DEADLINE_SPREAD_MS
    );
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
    while (this.inFlight < this.limits.requestsInFlightMax) {
      const batch = this.full.shift() ?? this.open;
      if (!batch) return;
      if (batch === this.open) this.open = null;
      this.inFlight += 1;
      this.send(this, batch).finally(() => {
        this.inFlight -= 1;
        this.rows -= batch.rows;
        this.flush();
      });
    }
  }
}
