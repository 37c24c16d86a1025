import type { ShardAnswer, ShardQuestion } from '@spill/core';
import { Packr, Unpackr } from 'msgpackr';
import type { ShardRequests, ShardTarget } from './shard-requests.js';

const packr = new Packr({ useRecords: false });
/** Sequences and microseconds fit a double; amounts travel as strings. */
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType: 'number' });

export function packQuestion(question: ShardQuestion): Uint8Array {
  return packr.pack(question);
}

/** Asks one shard process. null: it gave no answer, for whatever reason. */
export async function askShard(
  requests: ShardRequests,
  target: ShardTarget,
  question: ShardQuestion,
  timeoutMs: number,
): Promise<ShardAnswer | null> {
  const outcome = await requests.send(target, 'ask', packQuestion(question), timeoutMs);
  if (outcome.outcome !== 'answer') return null;
  const answer: unknown = unpackr.unpack(outcome.data);
  return typeof answer === 'object' && answer !== null && 'answer' in answer ? (answer as ShardAnswer) : null;
}
