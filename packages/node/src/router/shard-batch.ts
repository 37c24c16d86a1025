import {
  ACCOUNT_BYTES_MAX,
  BATCH_ROW_BYTES,
  BATCH_ROWS_MAX,
  BatchBuilder,
  ID_BYTES_MAX,
  type StampedTransaction,
} from '@spill/core';
import type { GatheringBatch } from './lane.js';
import type { SubmitCall } from './submit-call.js';

/** What one more row can add to a batch, in bytes. */
const ROW_BYTES_MAX = ACCOUNT_BYTES_MAX + 1 + ID_BYTES_MAX + BATCH_ROW_BYTES + 1;

const LARGE_BYTES = 64 * 1024;
const SMALL_BYTES = 32 * 1024;

/**
 * So many builders of batches of such a size are kept for the next ones: new memory for each is what a busy client
 * collects most of.
 */
const SPARES_MAX = 16;
const SPARE_BYTES_MAX = 512 * 1024;
const spares: BatchBuilder[] = [];

/** A batch on its way to one shard. */
export class ShardBatch implements GatheringBatch {
  readonly calls: SubmitCall[] = [];
  readonly indexes: number[] = [];
  private readonly builder = spares.pop() ?? new BatchBuilder();

  constructor(
    readonly deadline: number,
    private readonly bytesMax: number,
  ) {}

  get hasRoom(): boolean {
    return this.builder.byteLength + ROW_BYTES_MAX <= this.bytesMax && this.builder.rows < BATCH_ROWS_MAX;
  }

  get isLarge(): boolean {
    return this.builder.byteLength >= LARGE_BYTES;
  }

  get isSmall(): boolean {
    return this.builder.byteLength < SMALL_BYTES;
  }

  add(call: SubmitCall, index: number): void {
    const { account, id, amount, timestamp, stamped } = call.transactions[index] as StampedTransaction;
    this.builder.add(account, id, amount, timestamp, stamped);
    this.calls.push(call);
    this.indexes.push(index);
  }

  /** Once, and nothing can be added any more. */
  finish(): Uint8Array {
    const { builder } = this;
    const bytes = builder.finish();
    builder.clear();
    if (spares.length < SPARES_MAX && bytes.byteLength <= SPARE_BYTES_MAX) spares.push(builder);
    return bytes;
  }
}
