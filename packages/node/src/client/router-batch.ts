import {
  BATCH_TRANSACTIONS_MAX,
  packMessagePack,
  resultBytesMax,
  type StampedTransaction,
  transactionForMessagePack,
} from '@spill/core';
import type { GatheringBatch } from '../router/lane.js';
import type { SubmitCall } from '../router/submit-call.js';

/** Field names, numbers and lengths of one transaction in MessagePack, bytes, beside account and id. */
const TRANSACTION_BYTES = 64;
const ROW_BYTES_MAX = resultBytesMax('x'.repeat(64)) + 128;

const LARGE_TRANSACTIONS = 1_024;
const SMALL_TRANSACTIONS = 128;

/** A batch on its way to a router, such that neither it nor its reply can be longer than the server takes. */
export class RouterBatch implements GatheringBatch {
  readonly calls: SubmitCall[] = [];
  readonly indexes: number[] = [];
  private bytesMax = 0;

  constructor(
    readonly deadline: number,
    private readonly payloadBytesMax: number,
    /** Whether it goes without its timestamp. */
    private readonly isUnstamped: (transaction: StampedTransaction) => boolean,
  ) {}

  get hasRoom(): boolean {
    return this.indexes.length < BATCH_TRANSACTIONS_MAX && this.bytesMax + ROW_BYTES_MAX <= this.payloadBytesMax;
  }

  get isLarge(): boolean {
    return this.indexes.length >= LARGE_TRANSACTIONS;
  }

  get isSmall(): boolean {
    return this.indexes.length < SMALL_TRANSACTIONS;
  }

  add(call: SubmitCall, index: number): void {
    const { account, id } = call.transactions[index] as StampedTransaction;
    // A bound for request and reply at once; the reply's is the larger one but for long accounts.
    this.bytesMax += Math.max(resultBytesMax(id), TRANSACTION_BYTES + 3 * (account.length + id.length));
    this.calls.push(call);
    this.indexes.push(index);
  }

  finish(): Uint8Array {
    return packMessagePack(
      this.indexes.map((index, row) => {
        const transaction = (this.calls[row] as SubmitCall).transactions[index] as StampedTransaction;
        const fields = transactionForMessagePack(transaction);
        if (this.isUnstamped(transaction)) delete fields.timestamp;
        return fields;
      }),
    );
  }
}
