/**
 * What router and SDK do when an attempt to have a transaction stored has ended. Pure: the caller hands in times.
 *
 * ```
 *           ┌──────────────── look again (topology read after the failure) ◀───────────────┐
 *           ▼                                                                               │
 *  send ──▶ waiting ──stored, duplicate, conflict, expired──▶ answered                      │
 *           │  ├──────moved, unavailable, replaced, no responders, late─────────────────────┘
 *           │  ├──────restamp─────────▶ a new timestamp just above the horizon, send again
 *           │  └──────overloaded, ledger away, no answer within the deadline──▶ given up, retryable
 *           └── after looking, only with no responders and no attempt in doubt: the direct path
 * ```
 *
 * A transaction is *in doubt* once an attempt may have been stored without an answer. Then the direct path is closed
 * to it, since a slow shard would otherwise send its load back to the hot row, and it is given up only with a code that
 * asks for another try.
 */

/** Whether some attempt of the transaction may have been stored although nobody said so. */
export type Doubt = 'clear' | 'in_doubt';

/** How an attempt ended, for one transaction. */
export type AttemptEvent =
  /** stored, duplicate, id_conflict, expired, or a user's timestamp too far ahead: an answer for the client. */
  | 'answered'
  /** Another shard owns the slot. Nothing was stored. */
  | 'moved'
  /** Stamped by spill, and below the horizon or too far ahead of the shard's clock. Nothing was stored. */
  | 'restamp'
  /** Below the horizon, and the ledger could not be asked. Nothing was stored. */
  | 'ledger_away'
  /** The shard is opening, draining or can't write; whether it was stored can't be told. */
  | 'unavailable'
  /** Past a bound of the shard. Nothing was stored. */
  | 'overloaded'
  /** The shard dropped it unread, past the deadline that the request carried. Nothing was stored. */
  | 'late'
  /** The shard could not read the batch. Nothing was stored. */
  | 'malformed'
  /** No process listens on the subject, or the topology names none: certainly not delivered. */
  | 'no_responders'
  /** The connection was closed before the request went out. Nothing was stored. */
  | 'not_sent'
  /** The shard was given to another process while the answer was awaited. */
  | 'replaced'
  /** The deadline passed without an answer, or the connection broke. */
  | 'no_answer';

export type GiveUpCode = 'unavailable' | 'overloaded' | 'timeout' | 'internal';

export type Rule =
  | { readonly step: 'answer' }
  /** Read the topology, then decide with `afterLook`; what has moved to an owner that is known by then needs no read. */
  | { readonly step: 'look'; readonly doubt: Doubt }
  | { readonly step: 'restamp'; readonly doubt: Doubt }
  | { readonly step: 'give_up'; readonly code: GiveUpCode };

const ANSWER: Rule = { step: 'answer' };
const CLEAR_LOOK: Rule = { step: 'look', doubt: 'clear' };
const DOUBTFUL_LOOK: Rule = { step: 'look', doubt: 'in_doubt' };
const giveUp = (code: GiveUpCode): Rule => ({ step: 'give_up', code });

/** Every event in every state. A doubt never goes away; nothing is rejected for good because of one. */
export const ATTEMPT_RULES: Readonly<Record<AttemptEvent, Readonly<Record<Doubt, Rule>>>> = {
  answered: { clear: ANSWER, in_doubt: ANSWER },
  moved: { clear: CLEAR_LOOK, in_doubt: DOUBTFUL_LOOK },
  restamp: { clear: { step: 'restamp', doubt: 'clear' }, in_doubt: { step: 'restamp', doubt: 'in_doubt' } },
  ledger_away: { clear: giveUp('unavailable'), in_doubt: giveUp('unavailable') },
  unavailable: { clear: DOUBTFUL_LOOK, in_doubt: DOUBTFUL_LOOK },
  overloaded: { clear: giveUp('overloaded'), in_doubt: giveUp('overloaded') },
  late: { clear: CLEAR_LOOK, in_doubt: DOUBTFUL_LOOK },
  malformed: { clear: giveUp('internal'), in_doubt: giveUp('timeout') },
  no_responders: { clear: CLEAR_LOOK, in_doubt: DOUBTFUL_LOOK },
  not_sent: { clear: CLEAR_LOOK, in_doubt: DOUBTFUL_LOOK },
  replaced: { clear: DOUBTFUL_LOOK, in_doubt: DOUBTFUL_LOOK },
  no_answer: { clear: DOUBTFUL_LOOK, in_doubt: DOUBTFUL_LOOK },
};

/** What is known once the topology was read after an attempt failed. */
export interface Look {
  readonly event: AttemptEvent;
  readonly doubt: Doubt;
  /** false: the read itself failed, so nothing is certain. */
  readonly topologyRead: boolean;
  /** Whether the topology now names another shard or another assignment than the attempt went to. */
  readonly targetChanged: boolean;
  /** Milliseconds for which every attempt at this shard has met no responders; 0: this is the first. */
  readonly unreachableMs: number;
  readonly directAfterMs: number;
  /** Milliseconds left of the client's deadline. */
  readonly remainingMs: number;
  /** Attempts so far, this one included. */
  readonly attempts: number;
}

export type NextAttempt =
  | { readonly next: 'send' }
  | { readonly next: 'wait'; readonly waitMs: number }
  | { readonly next: 'direct' }
  | { readonly next: 'give_up'; readonly code: GiveUpCode };

/** Below this nothing can be sent and answered. */
export const REMAINING_MS_MIN = 2;
const WAIT_MS_FIRST = 5;
const WAIT_MS_MAX = 200;

/**
 * What to do after the topology was read. The direct path asks for certainty: no responders, no earlier attempt in
 * doubt, the same target still named by a read made after the failure, and that for `directAfterMs`.
 */
export function afterLook(look: Look): NextAttempt {
  if (look.remainingMs < REMAINING_MS_MIN) return { next: 'give_up', code: codeAtDeadline(look) };
  if (look.event === 'no_responders' && look.doubt === 'clear' && look.topologyRead && !look.targetChanged) {
    if (look.unreachableMs >= look.directAfterMs) return { next: 'direct' };
  }
  if (look.topologyRead && look.targetChanged) return { next: 'send' };
  const waitMs = Math.min(WAIT_MS_FIRST * 2 ** Math.max(0, look.attempts - 1), WAIT_MS_MAX);
  if (look.remainingMs < waitMs + REMAINING_MS_MIN) return { next: 'give_up', code: codeAtDeadline(look) };
  return { next: 'wait', waitMs };
}

function codeAtDeadline(look: Look): GiveUpCode {
  switch (look.event) {
    case 'no_answer':
    case 'replaced':
    case 'late':
      return 'timeout';
    default:
      return look.doubt === 'in_doubt' && look.event !== 'unavailable' ? 'timeout' : 'unavailable';
  }
}

/**
 * How far above the horizon a transaction is stamped again: enough that the horizon, which follows the clock, has not
 * passed it when it arrives, and far below `dedupe_window_min`. Microseconds.
 */
export const RESTAMP_ABOVE_HORIZON_US = 1_000_000;
export const RESTAMPS_MAX = 8;

/** The new timestamp of a transaction that spill had stamped below a shard's horizon. Microseconds. */
export function restamp(horizon: number, restamps: number): number {
  return Math.floor(horizon) + RESTAMP_ABOVE_HORIZON_US * restamps;
}
