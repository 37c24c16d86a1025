import type { TransactionInput } from '@spill/node/client';

/** What clients were told is stored: what rows and ledger must show in the end. Amounts of a benchmark are small. */
export class Acknowledged {
  count = 0;
  /** Of the numbers at the ends of the ids: with their count, and no id twice, which they are. */
  idSum = 0;
  /** Minor units by account. */
  readonly sums = new Map<string, number>();

  add(transactions: readonly TransactionInput[]): void {
    this.count += transactions.length;
    for (const { account, id = '', amount } of transactions) {
      this.idSum += numberOf(id);
      this.sums.set(account, (this.sums.get(account) ?? 0) + Number(amount));
    }
  }
}

/** `h42` is 42. */
function numberOf(id: string): number {
  let from = id.length;
  while (from > 0 && id.charCodeAt(from - 1) >= 48 && id.charCodeAt(from - 1) <= 57) from -= 1;
  return Number(id.slice(from));
}
