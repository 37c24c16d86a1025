import type { Doubt, SpillError, StampedTransaction, SubmitResult } from '@spill/core';

/** What a transaction has been through that is not on the straight way. */
export interface Trouble {
  doubt: Doubt;
  attempts: number;
  restamps: number;
}

/** One call of `submit`: its transactions, and their results as they come. */
export class SubmitCall {
  readonly results: SubmitResult[];
  readonly done: Promise<SubmitResult[]>;
  private resolve!: (results: SubmitResult[]) => void;
  private open: number;
  private troubles: Map<number, Trouble> | null = null;

  constructor(
    readonly transactions: readonly StampedTransaction[],
    /** On the monotonic clock, milliseconds. */
    readonly deadline: number,
    private readonly onSettled: () => void,
  ) {
    this.results = new Array<SubmitResult>(transactions.length);
    this.open = transactions.length;
    this.done = new Promise((resolve) => {
      this.resolve = resolve;
    });
    if (this.open === 0) this.resolve(this.results);
  }

  /** The one result of a transaction. */
  settle(index: number, result: SubmitResult): void {
    this.results[index] = result;
    this.onSettled();
    if (--this.open === 0) this.resolve(this.results);
  }

  reject(index: number, error: SpillError): void {
    this.settle(index, { id: (this.transactions[index] as StampedTransaction).id, status: 'rejected', error });
  }

  trouble(index: number): Trouble {
    this.troubles ??= new Map();
    let trouble = this.troubles.get(index);
    if (!trouble) {
      trouble = { doubt: 'clear', attempts: 0, restamps: 0 };
      this.troubles.set(index, trouble);
    }
    return trouble;
  }
}
