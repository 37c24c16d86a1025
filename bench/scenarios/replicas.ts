import type { Run, Scenario, ScenarioResult } from '../scenario.js';
import { type Bed, withBed } from '../support/bed.js';
import { inRounds } from '../support/rounds.js';
import { Transactions } from '../support/transactions.js';

const ROUNDS = 3;
const TOTAL = 300_000;
const WARM_UP = 100_000;
const BATCH = 8_192;
const IN_FLIGHT = 8;

/** One hot account, where each record is on three servers of this machine before it is acknowledged. */
export const replicas: Scenario = {
  name: 'replicas',
  seconds: 60,
  run: (run) => withBed({ nodes: 3 }, (bed) => on(bed, run)),
};

async function on(bed: Bed, run: Run): Promise<ScenarioResult> {
  const { shards } = await bed.operator.topology({ timeoutMs: 10_000 });
  const wrong = shards.find((shard) => shard.replicas !== 3);
  if (wrong) throw new Error(`shard ${wrong.id} has ${wrong.replicas} replicas`);
  const transactions = new Transactions('t');
  const burst = (total: number) => bed.burst(transactions.batches(total, BATCH), IN_FLIGHT);
  const measured = await inRounds(run, bed, ROUNDS, [
    { name: 'replicas', warmUp: () => burst(WARM_UP), measure: () => burst(TOTAL) },
  ]);
  const { median, values } = measured.get('replicas')!;
  run.says('comparing rows, ledger and logs');
  return {
    figures: [{ id: 'replicas', value: median.value, perSecond: median.value, rounds: values }],
    sizes: { rounds: ROUNDS, transactions_a_round: TOTAL, batch: BATCH, in_flight: IN_FLIGHT },
    checked: [await bed.check()],
  };
}
