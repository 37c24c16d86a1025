import type { DataTable, DirectOutcome, StampedTransaction, SubmitResult } from '@spill/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { directPathTo } from '../../packages/node/dist/router/direct-path.js';
import { runs } from '../support/property-runs.js';

const PER_ACCOUNT_MAX = 4;
const IN_ALL_MAX = 32;

/** A transaction of an account goes the direct path, or the oldest write under way ends so. */
const step = fc.oneof(
  { weight: 8, arbitrary: fc.record({ account: fc.nat(31).map((n) => `a${n % 2 === 0 ? 0 : n}`) }) },
  {
    weight: 1,
    arbitrary: fc.record({ end: fc.constantFrom('applied' as const, 'unavailable' as const, 'broken' as const) }),
  },
);

describe('the direct path', () => {
  it('lets few at a row, and the others know at once; a row that refuses is never the last word', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 20, maxLength: 120, size: 'max' }), async (steps) => {
        const writes: { account: string; end: (end: 'applied' | 'unavailable' | 'broken') => void }[] = [];
        const direct = directPathTo(
          {
            direct: ({ account }) =>
              new Promise<DirectOutcome>((resolve, reject) => {
                writes.push({
                  account,
                  end: (end) => {
                    if (end === 'broken') reject(new Error('the connection broke'));
                    else if (end === 'applied') resolve({ outcome: 'applied' });
                    else resolve({ outcome: 'unavailable', detail: 'the row is locked' });
                  },
                });
              }),
            ledger: async () => [null],
          } as Pick<DataTable, 'direct' | 'ledger'>,
          { dedupeWindowMicros: 600_000_000, maxClockSkewMicros: 60_000_000 },
        );
        const answers: SubmitResult[] = [];
        let sent = 0;
        for (const step of steps) {
          if ('end' in step) {
            writes.shift()?.end(step.end);
          } else {
            const atRow = writes.filter(({ account }) => account === step.account).length;
            const full = atRow >= PER_ACCOUNT_MAX || writes.length >= IN_ALL_MAX;
            const before = answers.length;
            direct(transaction(`t${sent++}`, step.account), 1_000, () => true).then((answer) => answers.push(answer));
            await turn();
            expect(answers.length).toBe(full ? before + 1 : before);
            if (full) expect(answers.at(-1)).toMatchObject({ error: { code: 'overloaded' } });
          }
          await turn();
        }
        for (const { end } of writes) end('applied');
        await turn();
        expect(answers).toHaveLength(sent);
        for (const answer of answers) {
          if (answer.status === 'rejected') expect(['overloaded', 'unavailable']).toContain(answer.error.code);
        }
      }),
      runs(100),
    );
  });
});

function transaction(id: string, account: string): StampedTransaction {
  return { id, account, amount: 1n, timestamp: Date.now() * 1_000, stamped: false };
}

function turn(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve));
}
