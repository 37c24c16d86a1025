import {
  type DataTable,
  type Holder,
  type ShardAnswer,
  type ShardQuestion,
  SpillError,
  type Topology,
} from '@spill/core';
import { byDeadline } from './by-deadline.js';
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

/**
 * Reads the topology through the leader, after the request came.
 *
 * @throws SpillError `unavailable`, at the deadline at the latest
 */
export function freshTopology(topology: TopologyCache, deadline: number): Promise<Topology> {
  return orUnavailable("the topology can't be read", topology.refresh(), deadline);
}

/** Asks the database. @throws SpillError `unavailable`, whatever went wrong there, at the deadline at the latest */
export function fromDatabase<T>(statement: Promise<T>, deadline: number): Promise<T> {
  return orUnavailable('the database does not answer', statement, deadline);
}

async function orUnavailable<T>(what: string, work: Promise<T>, deadline: number): Promise<T> {
  try {
    return await byDeadline(deadline, work, () => new Error('nothing came before the deadline'));
  } catch (error) {
    throw new SpillError('unavailable', `${what}: ${(error as Error).message}`, { cause: error });
  }
}

/** Asks one shard one question, until the deadline; anything but the answer to it fails the round. */
export async function askHolder<A extends ShardQuestion['ask']>(
  requests: ShardRequests,
  topology: Topology,
  { shard }: Holder,
  question: Extract<ShardQuestion, { ask: A }>,
  deadline: number,
): Promise<({ answer: A } & ShardAnswer) | RoundFailed> {
  const answer = await askShard(requests, targetOf(topology, shard.id), question, deadline - performance.now());
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
