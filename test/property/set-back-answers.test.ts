/**
 * What a shard answers while the data table is set back to before what the shard has forgotten: transactions that are
 * forgotten but still in memory are folded again, and until then they are in no row.
 */
import { evolve, initialShardState, NONE, Pending, type ShardAnswer } from '@spill/core';
import fc from 'fast-check';
import { Packr } from 'msgpackr';
import { expect, it } from 'vitest';
import { answerQuestion } from '../../packages/node/dist/shard/answer-questions.js';
import { addKnown } from '../support/add-known.js';
import { runs } from '../support/property-runs.js';
import { questionPorts } from '../support/question-ports.js';

const codec = new Packr({ useRecords: false });

const history = fc.record({
  steps: fc.array(
    fc.oneof(
      {
        weight: 5,
        arbitrary: fc.record({
          step: fc.constant('store' as const),
          account: fc.constantFrom('a', 'b'),
          id: fc.nat(9),
          amount: fc.integer({ min: 1, max: 99 }),
          timestamp: fc.nat(9),
        }),
      },
      {
        weight: 1,
        arbitrary: fc.record({
          step: fc.constant('forget' as const),
          horizon: fc.nat(10),
          foldedUpTo: fc.nat(20),
          sweep: fc.nat(2),
        }),
      },
    ),
    { minLength: 1, maxLength: 24 },
  ),
  watermark: fc.nat(20),
  /** Ids whose transactions the direct path had written. */
  direct: fc.uniqueArray(fc.nat(9), { maxLength: 4 }),
});

it('leaves out what was written directly and finds what is not folded, forgotten or not', async () => {
  await fc.assert(
    fc.asyncProperty(history, async ({ steps, watermark, direct }) => {
      const state = initialShardState({
        shard: 1,
        pool: 'credit',
        largeThreshold: 1_000n,
        idHashKey: { k0: 1, k1: 2 },
        slotOf: () => 0,
        segmentEntries: 3,
      });
      const { known } = state;
      const pending = new Pending(known);
      pending.rebase(0);
      const stored: { account: string; id: number; amount: number }[] = [];
      for (const step of steps) {
        if (step.step === 'store') {
          // A known one is a duplicate; one that was forgotten is stored again.
          if (known.lookUp(step.account, `${step.id}`) !== NONE) continue;
          stored.push(step);
          const row = { ...step, id: `${step.id}`, amount: BigInt(step.amount) };
          addKnown(known, state.idHashKey, [row], stored.length);
          pending.acknowledge(stored.length - 1, stored.length, stored.length);
        } else {
          const foldedUpTo = Math.max(state.small.foldedUpTo, Math.min(step.foldedUpTo, stored.length));
          pending.rebase(foldedUpTo);
          evolve(state, { type: 'forgotten', horizon: step.horizon, foldedUpTo }, stored.length);
          known.sweep(step.sweep);
        }
      }
      const folded = Math.min(watermark, stored.length);
      pending.rebase(folded);

      const ask = async (question: object): Promise<ShardAnswer> => {
        const ports = questionPorts(state, pending, { rebasedAt: 0, acknowledged: () => stored.length });
        const bytes = await answerQuestion(codec.pack({ role: 'draining', epoch: 1, ...question }), ports);
        return codec.unpack(bytes);
      };

      const beyond = stored.slice(folded);
      const without = direct.map(String);
      const sums = await ask({
        ask: 'pending',
        logId: state.logId,
        watermark: folded,
        accounts: ['a', 'b'],
        without: [without, without],
      });
      if (folded < known.completeAbove) expect(sums.answer).toBe('again');
      else {
        const sumOf = (account: string): string =>
          String(
            beyond
              .filter((row) => row.account === account && !direct.includes(row.id))
              .reduce((sum, row) => sum + row.amount, 0),
          );
        expect(sums).toMatchObject({ answer: 'pending', sums: [sumOf('a'), sumOf('b')] });
      }
      for (const { account, id } of beyond) {
        const got = await ask({ ask: 'get', account, id: String(id) });
        if (got.answer !== 'get') throw new Error(`answered ${got.answer}`);
        // The asker says `not_found` only where the data table holds everything up to `completeAbove`.
        if (got.transaction === null) expect(got.completeAbove).toBeGreaterThan(folded);
      }
    }),
    runs(500),
  );
});
