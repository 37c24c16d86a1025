import { setTimeout as delay } from 'node:timers/promises';
import { withFoldsHeld } from '../../test/support/hold-folds.js';
import type { Run, Scenario, ScenarioResult } from '../scenario.js';
import { type Bed, withBed } from '../support/bed.js';
import { median } from '../support/machine.js';
import { Transactions } from '../support/transactions.js';

const ROUNDS = 3;
const PENDING = 1_000_000;
const KNOWN = 1_000_000;
const BATCH = 8_192;
const IN_FLIGHT = 8;
const SHARD = 'shard-1';
/** Between two tries of a client while the shard is away. */
const PROBE_MS = 20;
const GIVE_UP_MS = 30_000;
/** A process that served this long starts again at once after its end. */
const STEADY_MS = 5_500;

/** How long a shard is away after kill -9, with so much to read back. */
export const restart: Scenario = { name: 'restart', seconds: 75, run: (run) => withBed({}, (bed) => on(bed, run)) };

async function on(bed: Bed, run: Run): Promise<ScenarioResult> {
  const transactions = new Transactions('k');
  run.says('storing and folding what is only known');
  await bed.burst(transactions.batches(KNOWN, BATCH), IN_FLIGHT);
  await bed.foldAll();
  run.says('storing what is pending');
  const away: number[] = [];
  const replayed: number[] = [];
  await withFoldsHeld(bed.databaseUrl, async () => {
    await bed.burst(transactions.batches(PENDING, BATCH), IN_FLIGHT);
    for (let round = 1; round <= ROUNDS; round++) {
      await delay(STEADY_MS);
      run.says(`round ${round} of ${ROUNDS}: kill -9`);
      away.push(await killAndAsk(bed, transactions));
      replayed.push(await replaySeconds(bed));
    }
  });
  run.says('comparing rows, ledger and log');
  const checked = await bed.check();
  const value = median(away);
  const replay = median(replayed);
  return {
    figures: [{ id: 'restart', value, detail: `of which ${replay.toFixed(2)} s read the log back`, rounds: away }],
    sizes: { rounds: ROUNDS, pending: PENDING, known: KNOWN + PENDING },
    checked: [checked],
  };
}

/** Seconds from the kill to the first answer `stored`, with a new transaction sent every PROBE_MS. */
async function killAndAsk(bed: Bed, transactions: Transactions): Promise<number> {
  const killed = bed.node.childPids()[SHARD] as number;
  const probes: Promise<unknown>[] = [];
  let seconds = 0;
  process.kill(killed, 'SIGKILL');
  const started = performance.now();
  while (seconds === 0) {
    if (performance.now() - started > GIVE_UP_MS) throw new Error(`nothing was stored ${GIVE_UP_MS} ms after the kill`);
    const transaction = transactions.next();
    const probe = bed.spill.submit(transaction).then((result) => {
      if (result.status === 'rejected') throw new Error(`not stored: ${JSON.stringify(result)}`);
      bed.acknowledged.add([transaction]);
      // What took the direct path was no answer of the shard.
      if (result.status === 'stored' && seconds === 0) seconds = (performance.now() - started) / 1_000;
    });
    probes.push(probe);
    await Promise.race([probe, delay(PROBE_MS)]);
  }
  await Promise.all(probes);
  if (bed.node.childPids()[SHARD] === killed) throw new Error('the process was not replaced');
  return seconds;
}

async function replaySeconds(bed: Bed): Promise<number> {
  const { shards } = await bed.operator.performance({ timeoutMs: 10_000 });
  const shard = shards.find(({ shard }) => `shard-${shard}` === SHARD) as { replay_ms?: number } | undefined;
  return (shard?.replay_ms ?? Number.NaN) / 1_000;
}
