import type { FoldRows } from '../ports.js';
import { sortedAccounts } from './compare-accounts.js';

/** The rows of a fold by account: `accounts` ascending by bytes, everything else at the same place. */
export interface AccountGroups {
  readonly accounts: readonly string[];
  /** Sums beyond 64 bits are possible. */
  readonly sums: readonly bigint[];
  readonly counts: readonly number[];
  /** For each row of the fold, the place of its account. */
  readonly places: Int32Array;
}

/** Some milliseconds' work. */
const ROWS_A_STEP = 4_096;

/**
 * Groups the rows of a fold by account, in the order in which accounts are locked: in steps of some milliseconds, 25 for
 * the longest with 100,000 accounts, between which the caller may do something else.
 */
export function* groupByAccount(
  rows: Pick<FoldRows, 'length' | 'accounts' | 'amounts'>,
): Generator<undefined, AccountGroups> {
  const found = new Map<string, number>();
  const seen: string[] = [];
  const sums: bigint[] = [];
  const counts: number[] = [];
  const places = new Int32Array(rows.length);
  for (let row = 0; row < rows.length; row += 1) {
    if (row > 0 && row % ROWS_A_STEP === 0) yield;
    const account = rows.accounts[row]!;
    let place = found.get(account);
    if (place === undefined) {
      place = seen.length;
      found.set(account, place);
      seen.push(account);
      sums.push(0n);
      counts.push(0);
    }
    sums[place] = sums[place]! + rows.amounts[row]!;
    counts[place] = counts[place]! + 1;
    places[row] = place;
  }
  yield;
  const accounts = sortedAccounts(seen);
  yield;
  const order = accounts.map((account) => found.get(account)!);
  const sorted = new Int32Array(order.length);
  order.forEach((place, position) => {
    sorted[place] = position;
  });
  for (let row = 0; row < rows.length; row += 1) places[row] = sorted[places[row]!]!;
  return {
    accounts,
    sums: order.map((place) => sums[place]!),
    counts: order.map((place) => counts[place]!),
    places,
  };
}
