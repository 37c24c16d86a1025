import { decodeBody, encodeBody, SpillError } from '@spill/core';
import type { Requester } from '../nats/request.js';
import { answeredError, outcomeError } from './router-submitter.js';

/**
 * One question to a router, in MessagePack; resolves with the decoded reply.
 *
 * @throws SpillError as the router answers it, or `unavailable` or `timeout` where none does.
 */
export async function askRouter(
  request: Requester,
  subject: string,
  question: Record<string, unknown>,
  tryMs: number,
): Promise<Record<string, unknown>> {
  if (tryMs < 1) throw new SpillError('timeout', 'the deadline has passed');
  const outcome = await request(subject, encodeBody(question, 'messagepack'), {
    timeoutMs: tryMs,
    headers: { 'Spill-Deadline-Ms': String(Math.max(1, Math.floor(tryMs))) },
  });
  if (outcome.outcome !== 'answer') throw outcomeError(outcome);
  if (outcome.error) throw answeredError(outcome.data);
  return decodeBody(outcome.data) as Record<string, unknown>;
}
