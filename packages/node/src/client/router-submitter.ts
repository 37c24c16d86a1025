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
import { SubmitCall } from '../router/submit-call.js';
import { RouterBatch } from './router-batch.js';

export interface RouterSubmitterOptions {
  readonly names: Names;
  readonly request: Requester;
  /** The server's max_payload. */
  readonly maxPayloadBytes: number;
}

const REQUESTS_IN_FLIGHT_MAX = 16;
const PAYLOAD_MARGIN_BYTES = 1_024;

/** Sends transactions to whichever router is free, gathered into large requests. One try each; retries are above. */
export class RouterSubmitter {
  private readonly lane: Lane<RouterBatch>;

  constructor(private readonly options: RouterSubmitterOptions) {
    this.lane = new Lane({
      requestsInFlightMax: REQUESTS_IN_FLIGHT_MAX,
      newBatch: (deadline) => new RouterBatch(deadline, options.maxPayloadBytes - PAYLOAD_MARGIN_BYTES),
      send: (batch) => this.send(batch),
    });
  }

  /** Resolves with a result for each, in order; never rejects. */
  submit(transactions: readonly StampedTransaction[], deadlineMs: number): Promise<SubmitResult[]> {
    const call = new SubmitCall(transactions, performance.now() + deadlineMs, () => {});
    for (let index = 0; index < transactions.length; index++) this.lane.add(call, index);
    return call.done;
  }

  private async send(batch: RouterBatch): Promise<void> {
    const { names, request } = this.options;
    const remainingMs = batch.deadline - performance.now();
    if (remainingMs < 1) return rejectAll(batch, new SpillError('timeout', 'not sent before the deadline'));
    const outcome = await request(names.transactions('submit'), batch.finish(), {
      timeoutMs: remainingMs,
      headers: { 'Spill-Deadline-Ms': String(Math.max(1, Math.floor(remainingMs))) },
    });
    const results = resultsOf(outcome, batch.indexes.length);
    if (results instanceof SpillError) return rejectAll(batch, results);
    batch.calls.forEach((call, row) => {
      call.settle(batch.indexes[row] as number, results[row] as SubmitResult);
    });
  }
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
