/** How a fold is tried again after a transient error or a lost connection. Delays in milliseconds. */
export interface FoldRetryPolicy {
  readonly attemptsMax: number;
  readonly delayMsMin: number;
  readonly delayMsMax: number;
}

export const FOLD_RETRY_POLICY: FoldRetryPolicy = { attemptsMax: 6, delayMsMin: 10, delayMsMax: 2_000 };

export type FoldFailure =
  /** 40001, 40P01, 55P03: rolled back because of another transaction. */
  | 'transient'
  /** Lost connection or database away: outcome unknown; the same fold again, for as long as it takes. */
  | 'unavailable'
  /** A table is locked as a whole, or the schema is not there: nothing to narrow down. */
  | 'blocked';

export interface NextFoldAttempt {
  /** How many records to fold next; never 0. */
  readonly records: number;
  readonly delayMs: number;
  /** The smallest unit failed too often: fold it with everything set aside as `row_locked`. */
  readonly setAsideAll: boolean;
}

/**
 * What to do after the `attempt`-th failure in a row (from 1) of a fold of `records` records. Only transient errors
 * halve the batch, and only they end in setting aside; a database that is away is waited for without end.
 *
 * @param random in [0, 1), spreads the retries of shards that met each other.
 */
export function nextFoldAttempt(
  failure: FoldFailure,
  records: number,
  attempt: number,
  random: number,
  policy: FoldRetryPolicy = FOLD_RETRY_POLICY,
): NextFoldAttempt {
  const ceiling = Math.min(policy.delayMsMax, policy.delayMsMin * 2 ** Math.min(attempt, 20));
  const delayMs = Math.round(ceiling / 2 + (ceiling / 2) * random);
  if (failure !== 'transient') return { records, delayMs, setAsideAll: false };
  const halved = Math.max(1, Math.floor(records / 2));
  return { records: halved, delayMs, setAsideAll: records === 1 && attempt >= policy.attemptsMax };
}
