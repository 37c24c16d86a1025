import type { Run, Scenario, ScenarioResult } from '../scenario.js';
import { type Bed, FIXED_SHARDS, withBed } from '../support/bed.js';
import { dearest } from '../support/dearest.js';
import { inRounds, type Part } from '../support/rounds.js';
import { onEachThenOver, onHot, Transactions } from '../support/transactions.js';

const ROUNDS = 5;
const ACCOUNTS = [1, 1_000, 1_000_000] as const;
const TOTAL = 400_000;
/** All accounts are to be known before the clock starts: the first transaction of each costs more. */
const WARM_UP = 1_600_000;
const BATCH = 8_192;
const IN_FLIGHT = 8;

/** Whether a transaction costs more where there are more accounts: the intake, through the SDK. */
export const accounts: Scenario = {
  name: 'accounts',
  seconds: 120,
  run: (run) => withBed({ accounts: Math.max(...ACCOUNTS), args: FIXED_SHARDS }, (bed) => on(bed, run)),
};

async function on(bed: Bed, run: Run): Promise<ScenarioResult> {
  const parts = ACCOUNTS.map((count, part): Part => {
    // Ids of one length in all parts: from 13 characters on V8 puts a text together only when somebody reads it.
    const transactions = new Transactions(`${part}-`, count === 1 ? onHot : onEachThenOver(count));
    const burst = (total: number) => bed.burst(transactions.batches(total, BATCH), IN_FLIGHT);
    return {
      name: `${count.toLocaleString('en-US')} accounts`,
      warmUp: () => burst(WARM_UP),
      measure: () => burst(TOTAL),
    };
  });
  const measured = await inRounds(run, bed, ROUNDS, parts);
  run.says('comparing rows, ledger and log');
  return {
    figures: [dearest('accounts', measured)],
    sizes: {
      rounds: ROUNDS,
      transactions_a_round: TOTAL,
      batch: BATCH,
      in_flight: IN_FLIGHT,
      args: FIXED_SHARDS.join(' '),
    },
    checked: [await bed.check()],
  };
}
