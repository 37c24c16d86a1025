import { type HorizonRules, proposeHorizon, type ShardEvent, type ShardState, withForgotten } from '@spill/core';
import { monotonicMicros, wallMicros } from './clock.js';

const PROPOSE_EVERY_MICROS = 1_000_000;
/** Past this fraction of ids_max the window shrinks to its minimum. */
const IDS_PRESSURE = 0.9;
/** An hour of standstill a minute: what was missed in days is made up within one shift. */
const CATCH_UP_PRESSED = 60;

export interface HorizonKeeperSettings {
  readonly windowMicros: number;
  readonly windowMinMicros: number;
  readonly maxClockSkewMicros: number;
  readonly idsMax: number;
}

/**
 * Proposes the shard's horizon, about once a second, as events for the next record: `forgotten`, and a checkpoint after
 * it, so that `replay_from` can follow.
 */
export class HorizonKeeper {
  /** Set while this machine's clock and JetStream's differ too much: the horizon stands still. */
  skewed = false;
  private lastInstant: number;
  private lastInstantAt = monotonicMicros();
  private lastRecordTime: number;
  private lastRecordAt = monotonicMicros();
  private proposedAt = Number.NEGATIVE_INFINITY;

  constructor(
    private readonly state: ShardState,
    private readonly settings: HorizonKeeperSettings,
    lastRecordTime: number,
  ) {
    this.lastInstant = state.small.horizon + settings.windowMicros;
    this.lastRecordTime = lastRecordTime;
  }

  /** JetStream stamped a record of ours with `time` (microseconds); without it, our own clock at the acknowledgement. */
  recordAcknowledged(time: number): void {
    this.lastRecordTime = time;
    this.lastRecordAt = monotonicMicros();
  }

  get sinceProposal(): number {
    return monotonicMicros() - this.proposedAt;
  }

  /**
   * `foldedUpTo`: what may be forgotten below the horizon; null: nothing more.
   * `epoch`: as the events before it in the record leave it.
   */
  propose(foldedUpTo: number | null, epoch: number): ShardEvent[] {
    const { state, settings } = this;
    const now = monotonicMicros();
    if (now - this.proposedAt < PROPOSE_EVERY_MICROS) return [];
    this.proposedAt = now;
    const pressed = state.known.size > settings.idsMax * IDS_PRESSURE;
    const rules: HorizonRules = {
      windowMicros: pressed ? settings.windowMinMicros : settings.windowMicros,
      maxClockSkewMicros: settings.maxClockSkewMicros,
      ...(pressed && { catchUp: CATCH_UP_PRESSED }),
    };
    const proposal = proposeHorizon(
      state.small.horizon,
      {
        now: wallMicros(),
        lastRecordTime: this.lastRecordTime,
        sinceLastRecord: now - this.lastRecordAt,
        lastInstant: this.lastInstant,
        sinceLastInstant: now - this.lastInstantAt,
      },
      rules,
    );
    this.skewed = proposal.skewed;
    this.lastInstant = proposal.instant;
    this.lastInstantAt = now;
    const { small } = state;
    const folded = Math.max(small.foldedUpTo, foldedUpTo ?? 0);
    if (proposal.horizon === small.horizon && folded === small.foldedUpTo) return [];
    const forgotten: ShardEvent = { type: 'forgotten', horizon: proposal.horizon, foldedUpTo: folded };
    const next = withForgotten({ ...small, epoch: Math.max(small.epoch, epoch) }, proposal.horizon, folded);
    return [forgotten, { type: 'checkpoint', small: next }];
  }
}
