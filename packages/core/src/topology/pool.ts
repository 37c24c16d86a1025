/** The classes of shards. `large` takes both signs. */
export const POOLS = ['credit', 'debit', 'large'] as const;
export type Pool = (typeof POOLS)[number];

/** The pool of an amount: by magnitude first, then by sign. A pure function of the amount and the fixed threshold. */
export function poolOf(amount: bigint, largeThreshold: bigint): Pool {
  const magnitude = amount < 0n ? -amount : amount;
  if (magnitude >= largeThreshold) return 'large';
  return amount > 0n ? 'credit' : 'debit';
}
