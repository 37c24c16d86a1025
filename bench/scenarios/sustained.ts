import type { Run, Scenario, ScenarioResult } from '../scenario.js';
import { type Bed, withBed } from '../support/bed.js';
import { keepUp } from '../support/keep-up.js';
import { openLoop } from '../support/open-loop.js';
import { Transactions } from '../support/transactions.js';

const SECONDS = 60;
const BATCH = 1_000;
const IN_FLIGHT = 16;
const OPEN_LOOP_SHARE = 0.5;

/** What lasts: intake and fold together for a minute; then latencies at half of that, for another one. */
export const sustained: Scenario = {
  name: 'sustained',
  seconds: 165,
  run: (run) => withBed({}, (bed) => on(bed, run)),
};

async function on(bed: Bed, run: Run): Promise<ScenarioResult> {
  const transactions = new Transactions('u');
  run.says(`intake and fold together for ${SECONDS} s`);
  const kept = await keepUp(bed, {
    seconds: SECONDS,
    warmUpSeconds: 5,
    inFlight: IN_FLIGHT,
    send: async () => {
      const batch = transactions.take(BATCH);
      await bed.submit(batch);
      bed.acknowledged.add(batch);
    },
  });
  await bed.foldAll();

  const perSecond = OPEN_LOOP_SHARE * kept.perSecond;
  const rate = Math.round(perSecond).toLocaleString('en-US');
  run.says(`open loop with ${rate}/s for ${SECONDS} s`);
  const { latencies, sent, lateMsMax } = await openLoop({
    perSecond,
    seconds: SECONDS,
    warmUpSeconds: 3,
    groupMax: 1_000,
    send: async (count) => {
      const group = transactions.take(count);
      await bed.submit(group);
      bed.acknowledged.add(group);
      return true;
    },
  });
  run.says('comparing rows, ledger and log');
  const told = `${rate}/s, p50 ${latencies.at(50).toFixed(1)} ms, worst ${latencies.max.toFixed(0)} ms, of which the generator at most ${lateMsMax.toFixed(0)} ms`;
  return {
    figures: [
      {
        id: 'intake-and-fold',
        value: kept.perSecond,
        perSecond: kept.perSecond,
        detail: `in 10 s pieces ${Math.round(kept.slowest).toLocaleString('en-US')} to ${Math.round(kept.fastest).toLocaleString('en-US')}/s`,
      },
      { id: 'open-loop-p99', value: latencies.at(99), perSecond, detail: told },
      { id: 'open-loop-p99.9', value: latencies.at(99.9) },
    ],
    sizes: { seconds: SECONDS, batch: BATCH, in_flight: IN_FLIGHT, open_loop_sent: sent },
    checked: [await bed.check()],
  };
}
