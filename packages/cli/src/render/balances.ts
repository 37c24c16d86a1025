import { renderTable } from './table.js';

export interface BalanceLine {
  readonly account: string;
  readonly balance: bigint;
  readonly row: bigint | null;
  readonly setAside: bigint;
  readonly pending: bigint;
}

/** Balances in minor units: balance = row + set aside + pending. */
export function renderBalances(balances: readonly BalanceLine[]): string {
  return renderTable(
    [
      { head: 'account' },
      { head: 'balance', align: 'right' },
      { head: '= row', align: 'right' },
      { head: '+ set aside', align: 'right' },
      { head: '+ pending', align: 'right' },
    ],
    balances.map(({ account, balance, row, setAside, pending }) => [account, balance, row, setAside, pending]),
  );
}
