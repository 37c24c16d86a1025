import type { Figure, Run, Scenario, ScenarioResult } from '../scenario.js';
import { type Bed, withBed } from '../support/bed.js';
import { inRounds, type Measured, type Part } from '../support/rounds.js';
import { over, Transactions } from '../support/transactions.js';

const ROUNDS = 3;
const TOTAL = 400_000;
const ACCOUNTS = 100_000;
const WARM_UP = 100_000;
const BATCH = 8_192;
const IN_FLIGHT = 8;
/** Less than this share left when the intake ends is no fold by itself. */
const LEFT_MIN = 0.25;

/** How fast a backlog gets into PostgreSQL, ledger rows included, once nothing comes in any more. */
export const fold: Scenario = {
  name: 'fold',
  seconds: 60,
  run: (run) => withBed({ accounts: ACCOUNTS }, (bed) => on(bed, run)),
};

async function on(bed: Bed, run: Run): Promise<ScenarioResult> {
  const hot = new Transactions('f');
  const many = new Transactions('g', over(ACCOUNTS));
  const part = (name: string, transactions: Transactions): Part => ({
    name,
    warmUp: () => foldBurst(bed, transactions, WARM_UP),
    measure: () => foldBurst(bed, transactions, TOTAL),
  });
  const measured = await inRounds(run, bed, ROUNDS, [part('fold-hot', hot), part('fold-many', many)]);
  run.says('comparing rows, ledger and log');
  return {
    figures: ['fold-hot', 'fold-many'].map((id): Figure => {
      const { median, values } = measured.get(id)!;
      return { id, value: median.value, perSecond: median.value, rounds: values };
    }),
    sizes: { rounds: ROUNDS, transactions_a_round: TOTAL, accounts: ACCOUNTS },
    checked: [await bed.check()],
  };
}

/** Folds go on while the burst comes in; what is left when it ends is timed. */
async function foldBurst(bed: Bed, transactions: Transactions, total: number): Promise<Measured> {
  const before = bed.acknowledged.count;
  await bed.burst(transactions.batches(total, BATCH), IN_FLIGHT);
  const left = bed.acknowledged.count - (await bed.folded());
  const started = performance.now();
  await bed.foldAll();
  const seconds = (performance.now() - started) / 1_000;
  if (left < LEFT_MIN * (bed.acknowledged.count - before)) throw new Error(`only ${left} were left to fold`);
  return { value: left / seconds };
}
