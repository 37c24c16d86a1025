/** All times in microseconds; wall clocks since 1970, spans on a monotonic clock. */
export interface HorizonClocks {
  /** The shard's wall clock. */
  readonly now: number;
  /** JetStream's timestamp of the last record, and the span since its acknowledgement. */
  readonly lastRecordTime: number;
  readonly sinceLastRecord: number;
  /** `instant` of the last proposal (after a start: the logged horizon plus the window), and the span since. */
  readonly lastInstant: number;
  readonly sinceLastInstant: number;
}

export interface HorizonRules {
  readonly windowMicros: number;
  readonly maxClockSkewMicros: number;
  /** How many times faster than a monotonic clock the horizon may catch up; 2 where absent. */
  readonly catchUp?: number;
}

export interface HorizonProposal {
  /** The moment that all three clocks say has passed; the next call's `lastInstant`. */
  readonly instant: number;
  readonly horizon: number;
  /** The shard's clock and JetStream's differ by more than `max_clock_skew`: the horizon stands still. */
  readonly skewed: boolean;
}

/**
 * The next horizon that a shard may log: the least of three clocks less the window, never backwards. The third clock,
 * the last proposal plus twice the monotonic time since, is what stops one wrong step of the other two (which are one
 * and the same clock where NATS runs on the same machine) from forgetting everything for good; its price is that after
 * a long standstill the horizon lags, and catches up at double speed, or faster where the shard is short of room for
 * ids.
 */
export function proposeHorizon(current: number, clocks: HorizonClocks, rules: HorizonRules): HorizonProposal {
  const byLog = clocks.lastRecordTime + clocks.sinceLastRecord;
  const skewed = Math.abs(clocks.now - byLog) > rules.maxClockSkewMicros;
  const byMonotonic = clocks.lastInstant + (rules.catchUp ?? 2) * clocks.sinceLastInstant;
  if (skewed) return { instant: clocks.lastInstant, horizon: current, skewed };
  const agreed = Math.floor(Math.min(clocks.now, clocks.lastRecordTime, byMonotonic));
  // An instant that has passed has passed: clocks that were a year behind for a second would hold the third one back.
  const instant = Math.max(clocks.lastInstant, agreed);
  return { instant, horizon: Math.max(current, agreed - rules.windowMicros), skewed };
}
