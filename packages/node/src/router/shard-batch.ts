import { BatchBuilder, type StampedTransaction } from '@spill/core';
import type { SubmitCall } from './submit-call.js';

/** A batch on its way to one shard, and whose transactions its rows are. */
export class ShardBatch {
  readonly calls: SubmitCall[] = [];
  readonly indexes: number[] = [];
  private readonly builder = new BatchBuilder();

  /** `deadline`: of its first row, on the monotonic clock, milliseconds; no row's is much later. */
  constructor(readonly deadline: number) {}

  get rows(): number {
    return this.indexes.length;
  }

  get byteLength(): number {
    return this.builder.byteLength;
  }

  add(call: SubmitCall, index: number): void {
    const { account, id, amount, timestamp, stamped } = call.transactions[index] as StampedTransaction;
    this.builder.add(account, id, amount, timestamp, stamped);
    this.calls.push(call);
    this.indexes.push(index);
  }

  finish(): Uint8Array {
    return this.builder.finish();
  }
}
