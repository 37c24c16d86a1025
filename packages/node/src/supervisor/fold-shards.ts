import { type Names, type ShardAnswer, type ShardEntry, type ShardQuestion, SpillError, shardOf } from '@spill/core';
import { Packr } from 'msgpackr';
import pRetry from 'p-retry';
import type { Requester } from '../nats/request.js';
import type { TopologyStore } from '../nats/topology-store.js';

const codec = new Packr({ useRecords: false });

export interface FoldShards {
  readonly request: Requester;
  readonly topology: TopologyStore;
  readonly names: Names;
  /** null: all. */
  readonly shard: number | null;
  readonly deadlineMs: number;
}

/** What is to be tried again: the process may be opening, or just have been replaced. */
class NotNow extends Error {}

/**
 * Has one shard or all of them fold what was acknowledged before, side by side. Tries on, with a topology read anew,
 * until the deadline.
 *
 * @throws SpillError `not_found`, `conflict` for a damaged shard, `unavailable` or `timeout`.
 */
export async function foldShards(fold: FoldShards): Promise<{ folded: number; set_aside: number }> {
  const { topology } = await fold.topology.require();
  const wanted = topology.shards.filter((entry) => fold.shard === null || entry.id === fold.shard);
  if (fold.shard !== null && wanted.length === 0)
    throw new SpillError('not_found', `there is no shard ${fold.shard}; spill shard list shows them all`);
  const end = performance.now() + fold.deadlineMs;
  const results = await Promise.all(
    wanted.filter((entry) => entry.state !== 'retired').map((entry) => foldOne(fold, entry.id, end)),
  );
  return {
    folded: results.reduce((sum, { folded }) => sum + folded, 0),
    set_aside: results.reduce((sum, { setAside }) => sum + setAside, 0),
  };
}

async function foldOne(fold: FoldShards, shard: number, end: number): Promise<{ folded: number; setAside: number }> {
  try {
    return await pRetry(() => askOnce(fold, shard, end), {
      retries: Number.POSITIVE_INFINITY,
      minTimeout: 50,
      maxTimeout: 1_000,
      maxRetryTime: end - performance.now(),
      shouldRetry: ({ error }) => error instanceof NotNow,
    });
  } catch (error) {
    if (error instanceof NotNow)
      throw new SpillError('unavailable', `shard ${shard}: ${error.message}`, { cause: error });
    throw error;
  }
}

async function askOnce(fold: FoldShards, shard: number, end: number): Promise<{ folded: number; setAside: number }> {
  const entry = shardOf((await fold.topology.require()).topology, shard) as ShardEntry;
  if (entry.state === 'damaged') {
    throw new SpillError(
      'conflict',
      `shard ${shard} is damaged and folds nothing: ${entry.reason ?? 'see spill doctor'}`,
    );
  }
  const timeoutMs = end - performance.now();
  if (timeoutMs <= 0) throw new SpillError('timeout', `shard ${shard} was not folded before the deadline`);
  const question: ShardQuestion = { ask: 'fold' };
  const outcome = await fold.request(fold.names.shard(shard, entry.assignment, 'ask'), codec.pack(question), {
    timeoutMs,
  });
  if (outcome.outcome === 'no_responders') throw new NotNow('no process of it answers');
  if (outcome.outcome !== 'answer') {
    // Its process may have been replaced, or it folds for longer than the client waits.
    if (performance.now() < end) throw new NotNow(outcome.detail);
    throw new SpillError('timeout', `shard ${shard} was not folded before the deadline`);
  }
  const answer = codec.unpack(outcome.data) as ShardAnswer;
  if (answer.answer === 'fold') return { folded: answer.folded, setAside: answer.setAside };
  throw new NotNow(answer.answer === 'unavailable' ? answer.message : `it answered ${answer.answer}`);
}
