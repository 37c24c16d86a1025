import { evolve, Pending, type ShardAnswer, type ShardQuestion, type ShardState } from '@spill/core';
import { answerQuestion, type QuestionPorts } from '@spill/node';
import { Packr } from 'msgpackr';
import { describe, expect, test } from 'vitest';
import { batchOf } from '../support/batch-rows.js';
import { creditState } from '../support/credit-state.js';

const packr = new Packr({ useRecords: false });

function stateWith(...ids: string[]): ShardState {
  const state = creditState(1_000_000n);
  // One record each.
  for (const [i, id] of ids.entries()) store(state, id, i + 1);
  return state;
}

function store(state: ShardState, id: string, sequence: number): void {
  const batch = batchOf([{ account: 'a', id, amount: 5n, timestamp: 1_000 + sequence, stamped: false }]);
  evolve(state, { type: 'stored', batch, accepted: null, count: 1 }, sequence);
}

/** A shard whose waits for the log end as `waits` says: at each, the record that is acknowledged from then on. */
function portsOf(state: ShardState, acknowledged: number, waits: readonly (number | 'refused')[]): QuestionPorts {
  const left = [...waits];
  let last = acknowledged;
  const pending = new Pending(state.known);
  pending.acknowledge(0, 0, acknowledged);
  pending.rebase(0);
  return {
    state,
    pending,
    rebasedAt: 0,
    acknowledged: () => last,
    atEpoch: async (epoch) => epoch,
    ownedSlots: () => new Uint8Array(4096).fill(1),
    whenAcknowledged: (callback) => {
      const next = left.shift();
      if (next === undefined) throw new Error('waited once too often');
      if (next !== 'refused') last = next;
      callback(next !== 'refused');
    },
    fold: () => Promise.reject(new Error('not asked for')),
    migrations: null as never,
    close: () => Promise.reject(new Error('not asked for')),
    status: () => {
      throw new Error('not asked for');
    },
  };
}

async function ask(question: Record<string, unknown>, ports: QuestionPorts): Promise<ShardAnswer> {
  const body = { epoch: 1, role: 'owner', account: 'a', ...question } as unknown as ShardQuestion;
  return packr.unpack(Buffer.from(await answerQuestion(packr.pack(body), ports)));
}

describe('an answer of a shard rests on acknowledged records alone', () => {
  const page = { ask: 'retrieve', watermark: 0, after: null, from: null, to: null, limit: 10 };

  test('what it says is what was decided when it was asked, told once that is acknowledged', async () => {
    const state = stateWith('one', 'two');
    const ports = portsOf(state, 1, [2]);
    const wait = ports.whenAcknowledged;
    const asked = ask(page, {
      ...ports,
      whenAcknowledged: (callback) => {
        // Decided meanwhile, for the record after.
        store(state, 'three', 3);
        wait(callback);
      },
    });
    expect(await asked).toMatchObject({ transactions: [{ id: 'one' }, { id: 'two' }] });
  });

  test('and nothing is told where the log refuses it', async () => {
    const state = stateWith('one', 'two');
    expect(await ask({ ask: 'get', id: 'two' }, portsOf(state, 1, ['refused']))).toMatchObject({
      answer: 'unavailable',
    });
    expect(await ask(page, portsOf(state, 1, ['refused']))).toMatchObject({ answer: 'unavailable' });
  });

  test('sums hold what is acknowledged, whatever else is decided', async () => {
    const state = stateWith('one', 'two');
    const question = { ask: 'pending', logId: state.logId, watermark: 0, accounts: ['a'], without: [[]] };
    expect(await ask(question, portsOf(state, 1, ['refused']))).toMatchObject({ answer: 'pending', sums: ['5'] });
  });
});
