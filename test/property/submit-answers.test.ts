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
  const error = new SpillError('unavailable', 'shard 1 is away');
  const refused = ['a', 'b'].map((id): SubmitResult => ({ id, status: 'rejected', error }));
  expect(await messagesOf(refused)).toEqual(['shard 1 is away', 'shard 1 is away']);
});

test('a batch of which nothing is taken since too much waits is told so once, as a whole', async () => {
  const error = new SpillError('overloaded', 'shard 1 is busy', { retryAfterMs: 50 });
  const [a, b] = ['a', 'b'].map((id): SubmitResult => ({ id, status: 'rejected', error }));
  await expect(messagesOf([a!, b!])).rejects.toBe(error);
  const stored: SubmitResult = { id: 'a', status: 'stored', shard: 1, sequence: 1, timestamp: 1 };
  expect(await messagesOf([stored, b!])).toEqual([undefined, 'shard 1 is busy']);
});
