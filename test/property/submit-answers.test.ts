import { SpillError, type SubmitResult } from '@spill/core';
import { expect, test } from 'vitest';
import { answerSubmit } from '../../packages/node/dist/router/submit-endpoint.js';

const body = Buffer.from(JSON.stringify(['a', 'b'].map((id) => ({ account: 'x', id, amount: 1 }))));

async function messagesOf(results: readonly SubmitResult[]): Promise<(string | undefined)[]> {
  const submitter = { submit: async () => [...results] };
  const reply = await answerSubmit(body, 1_000, { submitter, maxPayloadBytes: 1_000_000 });
  const told = JSON.parse(Buffer.from(reply).toString()) as { results: { error?: { message: string } }[] };
  return told.results.map(({ error }) => error?.message);
}

test('an error of a transaction names its place in the batch, one that all share is told to each as it is', async () => {
  const stored: SubmitResult = { id: 'a', status: 'stored', shard: 1, sequence: 1, timestamp: 1 };
  const conflict = new SpillError('id_conflict', 'another amount');
  expect(await messagesOf([stored, { id: 'b', status: 'rejected', error: conflict }])).toEqual([
    undefined,
    'transactions[1]: another amount',
  ]);
  const error = new SpillError('overloaded', 'shard 1 is busy', { retryAfterMs: 50 });
  const refused = ['a', 'b'].map((id): SubmitResult => ({ id, status: 'rejected', error }));
  expect(await messagesOf(refused)).toEqual(['shard 1 is busy', 'shard 1 is busy']);
});
