import {
  decodeBody,
  decodeSubmitReply,
  type Names,
  SpillError,
  type StampedTransaction,
  type SubmitResult,
  spillErrorFromWire,
} from '@spill/core';
import type { Requester, RequestOutcome } from '../nats/request.js';
import { Lane } from '../router/lane.js';
import { type OnResults, SubmitCall } from '../router/submit-call.js';
import { RouterBatch } from './router-batch.js';

export interface RouterSubmitterOptions {
  readonly names: Names;
  readonly request: Requester;
  /** The server's max_payload. */
  readonly maxPayloadBytes: number;
}

const REQUESTS_IN_FLIGHT_MAX = 16;
const PAYLOAD_MARGIN_BYTES = 1_024;
/** How long a transaction may be sent without a timestamp, below the default of dedupe_window_min. */
const UNSTAMPED_MS_MAX = 10_000;

/**
 * Sends transactions to whichever router is free, gathered into large requests. One try each; retries are above.
 *
 * The protocol does not say who gave a timestamp. So one that this client gave is sent as a user's is, and where it is
 * refused, as only a wrong clock of this machine can bring about, it is left out from then on, and the router gives one.
 * That is done only where no try can have been stored, and for no longer than the cluster surely remembers the id.
 */
export class RouterSubmitter {
  private readonly lane: Lane<RouterBatch>;
  /** Some try of these may have been stored. */
  private readonly inDoubt = new WeakSet<StampedTransaction>();
  /** Since when these go without a timestamp, on the monotonic clock, milliseconds. */
  private readonly unstampedSince = new WeakMap<StampedTransaction, number>();

  constructor(private readonly options: RouterSubmitterOptions) {
    this.lane = new Lane({
      requestsInFlightMax: REQUESTS_IN_FLIGHT_MAX,
      newBatch: (deadline) =>
        new RouterBatch(deadline, options.maxPayloadBytes - PAYLOAD_MARGIN_BYTES, (transaction) =>
          this.unstampedSince.has(transaction),
        ),
      send: (batch) => this.send(batch),
    });
  }

  /** Resolves with a result for each, in order; never rejects. */
  submit(transactions: readonly StampedTransaction[], deadlineMs: number): Promise<SubmitResult[]> {
    return new Promise((resolve) => this.take(transactions, deadlineMs, resolve));
  }

  /** Like `submit`, and tells `onResults`. */
  take(transactions: readonly StampedTransaction[], deadlineMs: number, onResults: OnResults): void {
    const call = new SubmitCall(transactions, performance.now() + deadlineMs, () => {}, onResults);
    transactions.forEach((transaction, index) => {
      const since = this.unstampedSince.get(transaction);
      if (since !== undefined && performance.now() - since > UNSTAMPED_MS_MAX) call.reject(index, unstampedError());
      else this.lane.add(call, index);
    });
  }

  private async send(batch: RouterBatch): Promise<void> {
    const { names, request } = this.options;
    const remainingMs = batch.deadline - performance.now();
    if (remainingMs < 1) return rejectAll(batch, new SpillError('timeout', 'not sent before the deadline'));
    const outcome = await request(names.transactions('submit'), batch.finish(), {
      timeoutMs: remainingMs,
      headers: { 'Spill-Deadline-Ms': String(Math.max(1, Math.floor(remainingMs))) },
    });
    if (outcome.outcome === 'no_responders' || outcome.outcome === 'not_sent') {
      return rejectAll(batch, outcomeError(outcome));
    }
    const results = resultsOf(outcome, batch.indexes.length);
    batch.calls.forEach((call, row) => {
      const index = batch.indexes[row] as number;
      const transaction = call.transactions[index] as StampedTransaction;
      const result = results instanceof SpillError ? rejection(transaction, results) : (results[row] as SubmitResult);
      if (result.status === 'rejected' && this.mayLeaveOut(transaction, result.error)) {
        this.unstampedSince.set(transaction, performance.now());
        this.lane.add(call, index);
        return;
      }
      call.settle(index, result);
    });
  }

  /** Whether the timestamp is to be left out after this error; notes what may have been stored. */
  private mayLeaveOut(transaction: StampedTransaction, { code }: SpillError): boolean {
    if (code === 'timeout' || code === 'unavailable' || code === 'internal') this.inDoubt.add(transaction);
    // All else that can be invalid was checked before it was sent, but for how the table writes accounts.
    const refused = code === 'expired' || code === 'invalid_transaction';
    return refused && transaction.stamped && !this.inDoubt.has(transaction) && !this.unstampedSince.has(transaction);
  }
}

function unstampedError(): SpillError {
  return new SpillError(
    'timeout',
    'the clock of this machine is wrong, so routers gave the timestamp, and it is not known which: ' +
      'ask transactions.get what became of it',
  );
}

function rejection({ id }: StampedTransaction, error: SpillError): SubmitResult {
  return { id, status: 'rejected', error };
}

function rejectAll(batch: RouterBatch, error: SpillError): void {
  batch.calls.forEach((call, row) => {
    call.reject(batch.indexes[row] as number, error);
  });
}

function resultsOf(outcome: RequestOutcome, count: number): SubmitResult[] | SpillError {
  if (outcome.outcome !== 'answer') return outcomeError(outcome);
  try {
    return outcome.error ? answeredError(outcome.data) : decodeSubmitReply(outcome.data, count);
  } catch (cause) {
    return new SpillError('internal', `a router's reply can't be read: ${(cause as Error).message}`, { cause });
  }
}

/** The error that the body of an answer with error headers holds. */
export function answeredError(body: Uint8Array): SpillError {
  const { error } = decodeBody(body) as { error?: unknown };
  return spillErrorFromWire(error);
}

/** What an end without an answer means to a client. */
export function outcomeError(outcome: Exclude<RequestOutcome, { outcome: 'answer' }>): SpillError {
  switch (outcome.outcome) {
    case 'no_responders':
      return new SpillError('unavailable', 'no router answers on this cluster');
    case 'not_sent':
      return new SpillError('unavailable', `the request could not be sent: ${outcome.detail}`);
    case 'no_answer':
      return new SpillError('timeout', `no router answered in time: ${outcome.detail}`);
  }
}
