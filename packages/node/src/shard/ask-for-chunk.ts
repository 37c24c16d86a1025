import { type CopyChunk, type Migration, type Names, type ShardAnswer, type ShardQuestion, shardOf } from '@spill/core';
import { Packr } from 'msgpackr';
import { type NatsConnection, requesterOf } from '../nats/request.js';
import type { TopologyView } from './topology-view.js';

const packr = new Packr({ useRecords: false });
const CHUNK_MS_MAX = 2_000;

/** A target's request to the present process of its source; null where that has nothing to say just now. */
export async function askForChunk(
  nc: NatsConnection,
  names: Names,
  view: TopologyView,
  migration: Migration,
  stream: number,
  chunk: number,
): Promise<CopyChunk | null> {
  const assignment = shardOf(view.newest, migration.source)?.assignment ?? 0;
  const question: ShardQuestion = { ask: 'copy', migration: migration.id, epoch: view.epoch, stream, chunk };
  const outcome = await requesterOf(nc)(names.shard(migration.source, assignment, 'ask'), packr.pack(question), {
    timeoutMs: CHUNK_MS_MAX,
  });
  if (outcome.outcome !== 'answer') return null;
  const answer = packr.unpack(outcome.data) as ShardAnswer;
  return answer.answer === 'copy' ? answer.piece : null;
}
