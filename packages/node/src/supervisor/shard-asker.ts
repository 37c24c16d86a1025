import { type Names, type ShardAnswer, type ShardQuestion, shardOf, type Topology } from '@spill/core';
import { Packr } from 'msgpackr';
import type { Requester } from '../nats/request.js';

const codec = new Packr({ useRecords: false });

/** Asks the process that a topology names for a shard. null: it is silent, or has nothing to say just now. */
export type ShardAsker = (
  topology: Topology,
  shard: number,
  question: ShardQuestion,
  timeoutMs: number,
) => Promise<ShardAnswer | null>;

export function shardAsker(request: Requester, names: Names): ShardAsker {
  return async (topology, shard, question, timeoutMs) => {
    const entry = shardOf(topology, shard);
    if (!entry || entry.assignment === 0) return null;
    const subject = names.shard(shard, entry.assignment, 'ask');
    const outcome = await request(subject, codec.pack(question), { timeoutMs });
    if (outcome.outcome !== 'answer') return null;
    const answer = codec.unpack(outcome.data) as ShardAnswer;
    return answer.answer === 'unavailable' ? null : answer;
  };
}
