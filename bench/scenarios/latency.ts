import { openJetStream } from '../peers/jetstream.js';
import type { Run, Scenario, ScenarioResult } from '../scenario.js';
import { type Bed, withBed } from '../support/bed.js';
import { forSeconds } from '../support/closed-loop.js';
import { median } from '../support/machine.js';
import { inRounds, type Measured } from '../support/rounds.js';
import { Transactions } from '../support/transactions.js';

const ROUNDS = 5;
const SECONDS = 1.5;

/** One transaction at a time, against one synced JetStream publish at a time on the same server. */
export const latency: Scenario = { name: 'latency', seconds: 30, run: (run) => withBed({}, (bed) => on(bed, run)) };

async function on(bed: Bed, run: Run): Promise<ScenarioResult> {
  const transactions = new Transactions('l');
  const jetstream = await openJetStream(bed.node.natsUrl);
  const one = async (): Promise<void> => {
    const transaction = transactions.next();
    await bed.submit([transaction]);
    bed.acknowledged.add([transaction]);
  };
  // The median's own median: what one takes as a rule, not how many there were.
  const ms = async (measuring: Promise<Measured>): Promise<Measured> => {
    const { p50Ms = 0, p99Ms = 0 } = await measuring;
    return { value: p50Ms, p50Ms, p99Ms };
  };
  try {
    const measured = await inRounds(run, bed, ROUNDS, [
      { name: 'spill', warmUp: () => forSeconds(1, 1, one), measure: () => ms(forSeconds(SECONDS, 1, one)) },
      {
        name: 'JetStream',
        warmUp: () => jetstream.publishing(1, 0.5),
        measure: () => ms(jetstream.publishing(1, SECONDS)),
      },
    ]);
    run.says('comparing rows, ledger and log');
    const spill = measured.get('spill')!;
    const plain = measured.get('JetStream')!;
    const ratios = spill.values.map((value, round) => value / (plain.values[round] as number));
    const value = median(ratios);
    const told = ({ p50Ms = 0, p99Ms = 0 }: Measured): string =>
      `p50 ${p50Ms.toFixed(2)} ms, p99 ${p99Ms.toFixed(2)} ms`;
    const detail = `spill ${told(spill.median)}; JetStream ${told(plain.median)}`;
    return {
      figures: [{ id: 'latency', value, detail, rounds: ratios }],
      sizes: { rounds: ROUNDS, seconds_a_round: SECONDS },
      checked: [await bed.check()],
    };
  } finally {
    await jetstream.close();
  }
}
