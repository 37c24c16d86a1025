import { decodeSubmitRequest, encodeSubmitReply, SpillError, type SubmitRequest, type SubmitResult } from '@spill/core';
import type { Submitter } from './submitter.js';

export interface SubmitEndpointOptions {
  readonly submitter: Pick<Submitter, 'submit'>;
  /** The server's max_payload. */
  readonly maxPayloadBytes: number;
}

/**
 * Answers one `transactions.submit`. Resolves with the reply's body.
 *
 * @throws SpillError where the request as a whole can't be answered.
 */
export async function answerSubmit(
  body: Uint8Array,
  deadlineMs: number,
  { submitter, maxPayloadBytes }: SubmitEndpointOptions,
): Promise<Uint8Array> {
  const now = Date.now() * 1_000;
  const request = decodeSubmitRequest(body, now, { maxPayloadBytes });
  const results = await submitter.submit(request.transactions, deadlineMs);
  const [first] = results;
  const overload = overloadOfAll(request, results);
  if (overload) throw overload;
  // A single one that can't be a transaction is told so as it is where the request's form is wrong.
  if (request.single && first?.status === 'rejected' && first.error.code === 'invalid_transaction') throw first.error;
  return encodeSubmitReply(inRequestOrder(request, results), request.single, request.encoding);
}

/** Where nothing of a batch is taken, that is said once: what a thousand refusals cost would be taken from those who are. */
function overloadOfAll({ single, refused }: SubmitRequest, results: readonly SubmitResult[]): SpillError | undefined {
  if (single || refused.size > 0) return undefined;
  let overload: SpillError | undefined;
  for (const result of results) {
    if (result.status !== 'rejected' || result.error.code !== 'overloaded') return undefined;
    if (overload === undefined || retryAfter(result.error) > retryAfter(overload)) overload = result.error;
  }
  return overload;
}

function retryAfter({ retryAfterMs = 0 }: SpillError): number {
  return retryAfterMs;
}

/**
 * Puts the results of the valid transactions between those of the refused ones. An error that is a transaction's own
 * names its place in the batch. One that asks to try again is a shard's or this router's, and all its rows share it:
 * making a thousand of them takes longer than all else about a batch that is refused.
 */
function inRequestOrder(request: SubmitRequest, results: readonly SubmitResult[]): readonly SubmitResult[] {
  if (request.single) return results;
  if (request.refused.size === 0) {
    return results.some((result) => result.status === 'rejected') ? results.map(withPlace) : results;
  }
  let next = 0;
  return Array.from({ length: request.count }, (_, index) =>
    withPlace(request.refused.get(index) ?? (results[next++] as SubmitResult), index),
  );
}

function withPlace(result: SubmitResult, index: number): SubmitResult {
  if (result.status !== 'rejected' || result.error.retryable) return result;
  if (result.error.message.startsWith('transactions[')) return result;
  const { code, message, retryAfterMs } = result.error;
  const details = retryAfterMs === undefined ? {} : { retryAfterMs };
  return { ...result, error: new SpillError(code, `transactions[${index}]: ${message}`, details) };
}
