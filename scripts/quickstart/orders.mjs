import { readFileSync } from 'node:fs';

/** 100,000.00, in minor units. */
const MOVED = 10_000_000n;
export const CENTRAL = 'bank-central';

/**
 * The transactions of a plain CSV file: a header `id,account,amount`, no quotes.
 *
 * @param {string} path
 * @returns {{ id: string, account: string, amount: bigint }[]} amounts in minor units
 */
export function readOrders(path) {
  const [header, ...lines] = readFileSync(path, 'utf8').trimEnd().split('\n');
  if (header !== 'id,account,amount') throw new Error(`${path}: the header is ${header}, not id,account,amount`);
  return lines.map((line) => {
    const [id, account, amount] = line.split(',');
    return { id, account, amount: BigInt(amount) };
  });
}

/** Banks' own accounts, which receive the orders: the hot ones. */
export function settlementAccounts(orders) {
  const accounts = new Set(orders.map(({ account }) => account));
  return [...accounts].filter((account) => account.startsWith('bank-')).sort();
}

/** Moves 100,000.00 from each account to `bank-central`: two transactions each, under one id. */
export function transfersToCentral(accounts) {
  return accounts.flatMap((account) => {
    const id = `to-central-${account}`;
    return [
      { id, account, amount: -MOVED },
      { id, account: CENTRAL, amount: MOVED },
    ];
  });
}

/** What every balance must be in the end: plain sums, without spill. */
export function balancesOf(transactions) {
  const balances = new Map();
  for (const { account, amount } of transactions) balances.set(account, (balances.get(account) ?? 0n) + amount);
  return balances;
}
