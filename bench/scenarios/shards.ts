import type { Run, Scenario } from '../scenario.js';
import { type Bed, FIXED_SHARDS, withBed } from '../support/bed.js';
import type { Checked } from '../support/check.js';
import { dearest } from '../support/dearest.js';
import { inRounds, type Rounds } from '../support/rounds.js';
import { type MakeTransaction, over, Transactions } from '../support/transactions.js';

const ROUNDS = 5;
const TOTAL = 400_000;
/** Sixteen processes have to compile what one does, each with a sixteenth of the transactions. */
const WARM_UP = 1_600_000;
const BATCH = 8_192;
const IN_FLIGHT = 8;
const ACCOUNTS = 1_000;
const LARGE = 1_000_000n;
/** A cluster has a shard a pool at least; where one is to be busy, the two others idle. */
const SHARDS = [
  { busy: 1, shards: 3 },
  { busy: 4, shards: 4 },
  { busy: 16, shards: 16 },
] as const;

/** Whether a transaction costs more where more shards share the machine: the intake, through the SDK. */
export const shards: Scenario = {
  name: 'shards',
  seconds: 70,
  run: async (run) => {
    const measured = new Map<string, Rounds>();
    const checked: Checked[] = [];
    for (const { busy, shards } of SHARDS) {
      const name = `${busy} ${busy === 1 ? 'shard' : 'shards'}`;
      checked.push(
        await withBed({ shards, accounts: ACCOUNTS, args: FIXED_SHARDS }, (bed) => on(bed, run, name, busy, measured)),
      );
    }
    return {
      figures: [dearest('shards', measured)],
      sizes: {
        rounds: ROUNDS,
        transactions_a_round: TOTAL,
        batch: BATCH,
        in_flight: IN_FLIGHT,
        accounts: ACCOUNTS,
        args: FIXED_SHARDS.join(' '),
      },
      checked,
    };
  },
};

async function on(bed: Bed, run: Run, name: string, busy: number, measured: Map<string, Rounds>): Promise<Checked> {
  const transactions = new Transactions('s', busy === 1 ? over(ACCOUNTS) : spread(busy));
  const burst = (total: number) => bed.burst(transactions.batches(total, BATCH), IN_FLIGHT);
  const rounds = await inRounds(run, bed, ROUNDS, [
    { name, warmUp: () => burst(WARM_UP), measure: () => burst(TOTAL) },
  ]);
  measured.set(name, rounds.get(name)!);
  run.says(`${name}: comparing rows, ledger and logs`);
  return bed.check();
}

/** To the pools credit, debit and large as many as they have shards, which are dealt to them in turn. */
const spread = (shards: number): MakeTransaction => {
  const credit = over(ACCOUNTS);
  return (random) => {
    const { account, amount } = credit(random);
    const pool = random.int(0, shards - 1) % 3;
    return { account, amount: pool === 0 ? amount : pool === 1 ? -amount : LARGE };
  };
};
