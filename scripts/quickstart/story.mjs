import { join, relative } from 'node:path';
import { isClean, renderVerification } from '@spill/cli';
import { connect } from '@spill/node/client';
import { Cluster } from './cluster.mjs';
import { importOrders, keyOf } from './import-orders.mjs';
import { balancesOf, CENTRAL, settlementAccounts, transfersToCentral } from './orders.mjs';
import { readBalances } from './read-balances.mjs';
import { count, money, say, table } from './show.mjs';

const AGAIN = 100;
const DEADLINE_MS = 60_000;

/** One step after the other, each checked. @returns {Promise<boolean>} whether everything is right */
export async function story({ url, folder, file, orders, signal }) {
  const cluster = await Cluster.connect(url);
  const client = await connect({ servers: url, name: 'spill-quickstart', deadlineMs: DEADLINE_MS });
  try {
    const checks = [];
    const results = await importAndKill(client, cluster, { file, folder, orders, signal });
    checks.push(await submitAgain(client, orders, results));

    const banks = settlementAccounts(orders);
    const transfers = transfersToCentral(banks);
    const moved = await moveToCentral(client, transfers, banks);
    signal.throwIfAborted();

    const { folded, set_aside: setAside } = await cluster.fold();
    say(`Folded into the data table (${count(folded, 'transaction')} with this request, ${setAside} set aside).`);
    await showPools(cluster, [...results.values(), ...moved]);
    signal.throwIfAborted();

    checks.push(await compare(folder, [...orders, ...transfers], [...banks, CENTRAL]));
    checks.push(await verify(cluster));
    return checks.every(Boolean);
  } finally {
    await client.close();
    await cluster.close();
  }
}

async function importAndKill(client, cluster, { file, folder, orders, signal }) {
  say(`\nImporting ${count(orders.length, 'transaction')} from ${relative(process.cwd(), file)}:`);
  const { shards } = await cluster.topology();
  const { id } = shards.find(({ pool }) => pool === 'credit');
  const { pid } = await cluster.locate(id);
  const results = await importOrders({
    client,
    file,
    journalFile: join(folder, 'import.jsonl'),
    signal,
    halfWay: () => process.kill(pid, 'SIGKILL'),
  });
  const successor = await cluster.locate(id);
  if (successor.pid === pid) throw new Error(`shard ${id} still has the pid ${pid} that was killed`);
  say(`Half-way, shard ${id} (pid ${pid}) was killed with SIGKILL; pid ${successor.pid} went on in its place.`);
  return results;
}

async function submitAgain(client, orders, results) {
  const again = await client.submit(orders.slice(0, AGAIN));
  const same = again.filter(({ status, shard, sequence, timestamp }, i) => {
    const first = results.get(keyOf(orders[i]));
    const sameResult = shard === first.shard && sequence === first.sequence && timestamp === first.timestamp;
    return status === 'duplicate' && sameResult;
  });
  say(`Submitted the first ${AGAIN} once more: ${same.length} answered "duplicate", with their first result.`);
  return same.length === AGAIN;
}

async function moveToCentral(client, transfers, banks) {
  const results = await client.submit(transfers);
  const refused = results.find(({ status }) => status !== 'stored' && status !== 'applied');
  if (refused) throw new Error(`transfer ${refused.id} is ${refused.status}, not stored: ${refused.error?.message}`);
  say(`Moved 100,000.00 from each of ${banks.length} settlement accounts to ${CENTRAL}: ${results.length} stored.`);
  return results;
}

/** Where the transactions were stored. Those written to a row directly, while their shard was away, have no shard. */
async function showPools(cluster, results) {
  const { shards } = await cluster.topology();
  const pools = new Map(shards.map(({ id, pool }) => [id, pool]));
  const counts = new Map();
  for (const { shard } of results) {
    const pool = shard === null ? 'none: written to the row directly' : pools.get(shard);
    counts.set(pool, (counts.get(pool) ?? 0) + 1);
  }
  say();
  table(
    ['pool', 'transactions'],
    [...counts].sort().map(([pool, n]) => [pool, n.toLocaleString('en')]),
    ['transactions'],
  );
}

/** Every row of the data table against plain sums of the input. The hot accounts are shown. */
async function compare(folder, transactions, shown) {
  const expected = balancesOf(transactions);
  const actual = await readBalances(folder);
  const transactionsOf = new Map();
  for (const { account } of transactions) transactionsOf.set(account, (transactionsOf.get(account) ?? 0) + 1);
  say();
  table(
    ['hot account', 'transactions', 'expected', 'in the data table', ''],
    shown.map((account) => [
      account,
      transactionsOf.get(account).toLocaleString('en'),
      money(expected.get(account)),
      actual.has(account) ? money(actual.get(account)) : 'no row',
      actual.get(account) === expected.get(account) ? 'ok' : 'WRONG',
    ]),
    ['transactions', 'expected', 'in the data table'],
  );
  const right = [...expected].filter(([account, balance]) => actual.get(account) === balance).length;
  const strange = [...actual.keys()].filter((account) => !expected.has(account));
  say(`\n${count(right, 'balance')} of ${expected.size.toLocaleString('en')} are right to the last unit.`);
  if (strange.length > 0) say(`The data table has rows that it must not have: ${strange.slice(0, 10).join(', ')}`);
  return right === expected.size && strange.length === 0;
}

/** What the logs hold against the ledger and the rows, by spill itself. Nobody else writes here: drift is an error. */
async function verify(cluster) {
  const reply = await cluster.verify();
  say(`spill verify: ${renderVerification(reply, true)}`);
  return isClean(reply, true);
}
