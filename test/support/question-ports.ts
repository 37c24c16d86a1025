import type { Pending, ShardState } from '@spill/core';
import type { QuestionPorts } from '../../packages/node/dist/shard/answer-questions.js';
import { Migrations } from '../../packages/node/dist/shard/migrations.js';

/** What a shard at rest, which owns every slot, answers questions from. */
export function questionPorts(
  state: ShardState,
  pending: Pending,
  { rebasedAt, acknowledged }: Pick<QuestionPorts, 'rebasedAt' | 'acknowledged'>,
): QuestionPorts {
  return {
    state,
    pending,
    rebasedAt,
    acknowledged,
    atEpoch: async (epoch) => epoch,
    ownedSlots: () => new Uint8Array(1024).fill(1),
    whenAcknowledged: (callback) => callback(true),
    fold: async () => ({ folded: 0, setAside: 0 }),
    migrations: new Migrations(state, {} as never),
    close: async () => null,
    status: () => {
      throw new Error('not asked');
    },
  };
}
