import type { Run, Scenario, ScenarioResult } from '../scenario.js';
import { type Bed, withBed } from '../support/bed.js';
import { closedLoop } from '../support/closed-loop.js';
import { inRounds, type Measured, type Part } from '../support/rounds.js';
import { Transactions } from '../support/transactions.js';

const ROUNDS = 3;
const AT_ONCE = [
  { id: 'calls-1024', calls: 1_024, total: 200_000 },
  { id: 'calls-8192', calls: 8_192, total: 300_000 },
] as const;

/** One transaction a call, so many calls at once: the SDK puts them together by itself. */
export const sdkCalls: Scenario = { name: 'sdk-calls', seconds: 45, run: (run) => withBed({}, (bed) => on(bed, run)) };

async function on(bed: Bed, run: Run): Promise<ScenarioResult> {
  const transactions = new Transactions('c');
  const parts = AT_ONCE.map(
    ({ id, calls, total }): Part => ({
      name: id,
      warmUp: () => call(bed, transactions, total / 4, calls),
      measure: () => call(bed, transactions, total, calls),
    }),
  );
  const measured = await inRounds(run, bed, ROUNDS, parts);
  run.says('comparing rows, ledger and log');
  return {
    figures: AT_ONCE.map(({ id }) => {
      const { median, values } = measured.get(id)!;
      const { value, p50Ms = 0, p99Ms = 0 } = median;
      const detail = `a call takes ${p50Ms.toFixed(1)} ms, 99 % at most ${p99Ms.toFixed(1)} ms`;
      return { id, value, perSecond: value, detail, rounds: values };
    }),
    sizes: { rounds: ROUNDS, ...Object.fromEntries(AT_ONCE.map(({ id, total }) => [id, total])) },
    checked: [await bed.check()],
  };
}

async function call(bed: Bed, transactions: Transactions, total: number, calls: number): Promise<Measured> {
  const singles = transactions.take(total);
  const measured = await closedLoop(singles, 1, calls, async (one) => {
    const result = await bed.spill.submit(one);
    if (result.status !== 'stored') throw new Error(`not stored: ${JSON.stringify(result)}`);
  });
  bed.acknowledged.add(singles);
  return measured;
}
