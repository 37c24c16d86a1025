import type { Doubt, SpillError, StampedTransaction, SubmitResult } from '@spill/core';

/** What a transaction has been through that is not on the straight way. */
export interface Trouble {
  doubt: Doubt;
  attempts: number;
  restamps: number;
}

/**
 * Told the results of a call once all are there, in order; it must not throw, since others' results come after. A promise
 * for each of thousands of calls would cost more.
 */
export type OnResults = (results: SubmitResult[]) => void;

/** One call of `submit`: its transactions, and their results as they come. */
export class SubmitCall {
  readonly results: SubmitResult[];
  private open: number;
  private troubles: Map<number, Trouble> | null = null;

  constructor(
    readonly transactions: readonly StampedTransaction[],
    /** On the monotonic clock, milliseconds. */
    readonly deadline: number,
    private readonly onSettled: () => void,
    private readonly onResults: OnResults,
  ) {
    this.results = new Array<SubmitResult>(transactions.length);
    this.open = transactions.length;
    if (this.open === 0) onResults(this.results);
  }

  /** The one result of a transaction. */
  settle(index: number, result: SubmitResult): void {
    this.results[index] = result;
    this.onSettled();
    if (--this.open === 0) this.onResults(this.results);
  }

  reject(index: number, error: SpillError): void {
    this.settle(index, { id: (this.transactions[index] as StampedTransaction).id, status: 'rejected', error });
  }

  /** What is in doubt of a transaction, without noting anything for one that has had no trouble. */
  doubt(index: number): Doubt {
    return this.troubles?.get(index)?.doubt ?? 'clear';
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
