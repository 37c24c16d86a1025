import {
  decodeSubmitRequest,
  encodeSubmitReply,
  isCanonicalAccount,
  SpillError,
  type StampedTransaction,
  type SubmitRequest,
  type SubmitResult,
  showValue,
  type TableMapping,
} from '@spill/core';
import type { Submitter } from './submitter.js';

export interface SubmitEndpointOptions {
  readonly submitter: Pick<Submitter, 'submit'>;
  /** The server's max_payload. */
  readonly maxPayloadBytes: number;
  /** Of the data table: an account must be byte-equal to its canonical text there. */
  readonly idType: TableMapping['idType'];
}

/**
 * Answers one `transactions.submit`. Resolves with the reply's body.
 *
 * @throws SpillError where the request as a whole can't be answered.
 */
export async function answerSubmit(
  body: Uint8Array,
  deadlineMs: number,
  { submitter, maxPayloadBytes, idType }: SubmitEndpointOptions,
): Promise<Uint8Array> {
  const now = Date.now() * 1_000;
  const request = refuseForeignAccounts(decodeSubmitRequest(body, now, { maxPayloadBytes }), idType);
  const results = await submitter.submit(request.transactions, deadlineMs);
  return encodeSubmitReply(inRequestOrder(request, results), request.single, request.encoding);
}

/** '7' and '07' are one SQL row and must not become two accounts. Columns of text take every account as it is. */
function refuseForeignAccounts(request: SubmitRequest, idType: TableMapping['idType']): SubmitRequest {
  if (idType === 'text' || idType === 'varchar') return request;
  if (request.transactions.every(({ account }) => isCanonicalAccount(account, { idType }))) return request;
  const refused = new Map(request.refused);
  const transactions: StampedTransaction[] = [];
  let next = 0;
  for (let index = 0; index < request.count; index++) {
    if (request.refused.has(index)) continue;
    const transaction = request.transactions[next++] as StampedTransaction;
    if (isCanonicalAccount(transaction.account, { idType })) {
      transactions.push(transaction);
      continue;
    }
    const field = request.single ? 'account' : `transactions[${index}].account`;
    const text = `${field} is ${showValue(transaction.account)}: must be written as the data table's ${idType} column does`;
    const error = new SpillError('invalid_transaction', text);
    if (request.single) throw error;
    refused.set(index, { id: transaction.id, status: 'rejected', error });
  }
  return { ...request, transactions, refused };
}

/** Puts the results of the valid transactions between those of the refused ones; errors of a batch name the place. */
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
  if (result.status !== 'rejected' || result.error.message.startsWith('transactions[')) return result;
  const { code, message, retryAfterMs } = result.error;
  const details = retryAfterMs === undefined ? {} : { retryAfterMs };
  return { ...result, error: new SpillError(code, `transactions[${index}]: ${message}`, details) };
}
