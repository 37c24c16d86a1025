import type { TransactionInput } from '@spill/node/client';
import { Random } from '../../test/support/random.js';

export const HOT = 'hot';
/** Has a few transactions at the beginning and at the end of each log, which are compared one by one. */
export const CONTROL = 'control';
const AMOUNTS = [1n, 2n, 3n, 4n, 5n, 6n, 7n, 8n, 9n];

export type MakeTransaction = (random: Random) => { account: string; amount: bigint };

/** Everything on one account. */
export const onHot: MakeTransaction = (random) => ({ account: HOT, amount: random.pick(AMOUNTS) });

/** Evenly on `a1` to `a<accounts>`. */
export const over =
  (accounts: number): MakeTransaction =>
  (random) => ({ account: `a${random.int(1, accounts)}`, amount: random.pick(AMOUNTS) });

/** First once on each of `a1` to `a<accounts>`, then evenly. */
export function onEachThenOver(accounts: number): MakeTransaction {
  const evenly = over(accounts);
  let met = 0;
  return (random) => (met < accounts ? { ...evenly(random), account: `a${++met}` } : evenly(random));
}

/** The same transactions in each run: ids count up behind a prefix, the rest follows from the seed. */
export class Transactions {
  private readonly random: Random;
  private made = 0;

  constructor(
    private readonly prefix: string,
    private readonly make: MakeTransaction = onHot,
    seed = 1,
  ) {
    this.random = new Random(seed);
  }

  next(): TransactionInput {
    return { id: `${this.prefix}${this.made++}`, ...this.make(this.random) };
  }

  take(count: number): TransactionInput[] {
    return Array.from({ length: count }, () => this.next());
  }

  /** Some `total` of them in batches of `size`. */
  batches(total: number, size: number): TransactionInput[][] {
    return Array.from({ length: Math.ceil(total / size) }, () => this.take(size));
  }
}
