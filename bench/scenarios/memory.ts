import { setTimeout as delay } from 'node:timers/promises';
import pidusage from 'pidusage';
import { withFoldsHeld } from '../../test/support/hold-folds.js';
import type { Run, Scenario, ScenarioResult } from '../scenario.js';
import { type Bed, withBed } from '../support/bed.js';
import type { Checked } from '../support/check.js';
import { HOT, Transactions } from '../support/transactions.js';

const TOTAL = 10_000_000;
const PIECE = 40 * 8_192;
const BATCH = 8_192;
const IN_FLIGHT = 8;
/** What is pending by then counts. */
const SECONDS_MAX = 75;
const SETTLE_MS = 3_000;
const SHARD = 1;

/** What the process of a shard grows by while its folds have to wait, by the pending transactions. */
export const memory: Scenario = { name: 'memory', seconds: 75, run: (run) => withBed({}, (bed) => on(bed, run)) };

async function on(bed: Bed, run: Run): Promise<ScenarioResult> {
  const transactions = new Transactions('m');
  await bed.burst(transactions.batches(PIECE, BATCH), IN_FLIGHT);
  await bed.foldAll();
  const before = await settledBytes(bed);
  const warmUp = bed.acknowledged.count;
  const { after, checked, pending } = await withFoldsHeld(bed.databaseUrl, async () => {
    await fill(bed, transactions, run);
    const pending = bed.acknowledged.count - warmUp;
    const after = await settledBytes(bed);
    run.says('comparing the balance and the log');
    return { after, pending, checked: await checkPending(bed, pending) };
  });
  const mib = (bytes: number): string => `${Math.round(bytes / 2 ** 20).toLocaleString('en-US')} MiB`;
  return {
    figures: [
      {
        id: 'memory',
        value: (after - before) / pending,
        detail: `${pending.toLocaleString('en-US')} pending in one shard; its process grew from ${mib(before)} to ${mib(after)}`,
      },
    ],
    sizes: { pending, pending_bytes_max: 'default', ids_max: 'default', seconds_max: SECONDS_MAX },
    checked: [checked],
  };
}

async function fill(bed: Bed, transactions: Transactions, run: Run): Promise<void> {
  const started = performance.now();
  const inTime = (): boolean => performance.now() - started < SECONDS_MAX * 1_000;
  let shown = 0;
  for (let pending = 0; pending < TOTAL && inTime(); pending += PIECE) {
    await bed.burst(transactions.batches(PIECE, BATCH), IN_FLIGHT);
    const millions = Math.floor(pending / 1e6);
    if (millions > shown) run.says(`${millions} million are pending`);
    shown = millions;
  }
}

async function settledBytes(bed: Bed): Promise<number> {
  await delay(SETTLE_MS);
  const { memory } = await pidusage(bed.node.childPids()[`shard-${SHARD}`] as number);
  return memory;
}

/** Ten million rows are not waited for: what is pending is compared where it is. */
async function checkPending(bed: Bed, pending: number): Promise<Checked> {
  const started = performance.now();
  const { acknowledged, spill, operator } = bed;
  const balance = await spill.balance(HOT);
  const expected = acknowledged.sums.get(HOT) ?? 0;
  if (Number(balance.balance) !== expected) {
    throw new Error(`the balance is ${balance.balance}, acknowledged were ${expected}`);
  }
  const verify = await operator.verify(null, { timeoutMs: 120_000 });
  const { lost, duplicated, mismatched, damaged } = verify;
  if (lost + duplicated + mismatched + damaged > 0 || verify.pending !== pending) {
    throw new Error(`verify: ${JSON.stringify({ lost, duplicated, mismatched, damaged, pending: verify.pending })}`);
  }
  const shards = (await operator.topology({ timeoutMs: 10_000 })).shards.length;
  const seconds = (performance.now() - started) / 1_000;
  const ledger = acknowledged.count - pending;
  return { acknowledged: acknowledged.count, accounts: 1, ledger, verified: verify.checked, shards, seconds };
}
