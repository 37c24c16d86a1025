import {
  type DataTable,
  type Holder,
  type ShardAnswer,
  type ShardQuestion,
  SpillError,
  type Topology,
} from '@spill/core';
import { RoundFailed } from './read-rounds.js';
import { askShard } from './shard-questions.js';
import { type ShardRequests, targetOf } from './shard-requests.js';
import type { TopologyCache } from './topology-cache.js';

/** What every read needs. */
export interface ReadOptions {
  readonly requests: ShardRequests;
  readonly topology: TopologyCache;
  readonly dataTable: DataTable;
  readonly slot: (account: string) => number;
}

/** Reads the topology through the leader, after the request came. @throws SpillError `unavailable` */
export async function freshTopology(topology: TopologyCache): Promise<Topology> {
  try {
    return await topology.refresh();
  } catch (error) {
    throw new SpillError('unavailable', `the topology can't be read: ${(error as Error).message}`, { cause: error });
  }
}

/** Asks the database. @throws SpillError `unavailable`, whatever went wrong there. */
export async function fromDatabase<T>(statement: Promise<T>): Promise<T> {
  try {
    return await statement;
  } catch (error) {
    throw new SpillError('unavailable', `the database does not answer: ${(error as Error).message}`, { cause: error });
  }
}

/** Asks one shard one question; anything but the answer to it fails the round. */
export async function askHolder<A extends ShardQuestion['ask']>(
  requests: ShardRequests,
  topology: Topology,
  { shard }: Holder,
  question: Extract<ShardQuestion, { ask: A }>,
  remainingMs: number,
): Promise<({ answer: A } & ShardAnswer) | RoundFailed> {
  const answer = await askShard(requests, targetOf(topology, shard.id), question, remainingMs);
  if (answer === null) return new RoundFailed(`shard ${shard.id} gave no answer`, false);
  if (answer.answer === question.ask) return answer as { answer: A } & ShardAnswer;
  switch (answer.answer) {
    case 'moved':
      return new RoundFailed(`shard ${shard.id} is not the owner any more`, true);
    case 'again':
      return new RoundFailed(`shard ${shard.id} has folded on meanwhile`, true);
    case 'unavailable':
      return new RoundFailed(`shard ${shard.id}: ${answer.message}`, false);
    default:
      return new RoundFailed(`shard ${shard.id} answered another question`, false);
  }
}
