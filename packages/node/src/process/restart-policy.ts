/**
 * When a child process is started, given up, replaced and ended. Pure: `now` is handed in, in milliseconds of a
 * monotonic clock; what is to be done comes back as actions, in the order in which they must be done.
 *
 * ```
 *            want               raised: spawn               serving
 *   absent ────────▶ raising ─────────────────▶ starting ────────────▶ serving
 *     ▲               ▲ ▲  ▲                     │ │  │                │ │  │
 *     │ unwant,       │ │  │   silent,           │ │  └── damaged ──┐ │ │  │ damaged
 *     └─ refused      │ │  └── overtaken ────────┘ │                ▼ ▼ │  ▼
 *                     │ │                          │ exited      damaged │
 *                     │ └──── backing_off ◀────────┴─────────────────────┘
 *                     │  tick                      │ fifth in 60 s without serving
 *                     └────── failed ◀─────────────┘
 *                       tick, 60 s later
 *
 *   drain: with a process ▶ draining ▶ (exited) ▶ stopped; without one ▶ stopped
 * ```
 *
 * raising: a new assignment is being written into the topology. Where NATS is away that is tried again and counts as
 * no start. A silent process is replaced by way of this state while it still exists (`predecessor`): the successor is
 * started first, then the old one is ended, so that nothing waits for a process that may be stopped for hours.
 */

export interface RestartLimits {
  /** A process that has served, or said that its log is damaged, is silent after this. */
  readonly silentMs: number;
  /** One that still starts, after this: on a busy machine its successor would only start more slowly. */
  readonly bootMs: number;
  /** So many starts within `failureWindowMs` without serving in between: failed. */
  readonly startsMax: number;
  readonly failureWindowMs: number;
  readonly failedRetryMs: number;
  /** The first restart is at once, the second after this, then doubled up to `backOffMaxMs`. */
  readonly backOffMinMs: number;
  readonly backOffMaxMs: number;
  /** Having served this long, a process is restarted at once again. */
  readonly steadyMs: number;
  /** Between two tries while NATS is away. */
  readonly unavailableRetryMs: number;
  /** How long a draining process may take. */
  readonly drainMs: number;
  /** A tick that comes later than this shows that the node itself stood still: nobody's silence counts meanwhile. */
  readonly stallMs: number;
}

export const RESTART_LIMITS: RestartLimits = {
  silentMs: 3_000,
  bootMs: 20_000,
  startsMax: 5,
  failureWindowMs: 60_000,
  failedRetryMs: 60_000,
  backOffMinMs: 100,
  backOffMaxMs: 5_000,
  steadyMs: 5_000,
  unavailableRetryMs: 250,
  drainMs: 15_000,
  stallMs: 1_500,
};

export type ChildState =
  | { readonly name: 'absent' }
  | { readonly name: 'raising'; readonly predecessor: boolean; readonly retryAt: number | null }
  /** `heardAt`: or started, where it was not heard yet. */
  | { readonly name: 'starting'; readonly heardAt: number }
  | { readonly name: 'serving'; readonly since: number; readonly heardAt: number }
  | { readonly name: 'damaged'; readonly heardAt: number }
  | { readonly name: 'backing_off'; readonly until: number }
  | { readonly name: 'failed'; readonly until: number; readonly reason: string }
  | { readonly name: 'draining'; readonly until: number }
  | { readonly name: 'stopped' };

export type ChildStateName = ChildState['name'];

export interface SupervisedChild {
  readonly state: ChildState;
  /** When processes were started since one last served. */
  readonly starts: readonly number[];
  /** Restarts since one last served for a while: the exponent of the back-off. */
  readonly attempt: number;
  /** It was marked as failed, and has not served since. */
  readonly marked: boolean;
  readonly tickAt: number;
}

export type ChildEvent =
  /** This node is to run it. */
  | { readonly event: 'want' }
  /** Another node is to run it. */
  | { readonly event: 'unwant' }
  | { readonly event: 'raised'; readonly assignment: number }
  /** The topology names another node. */
  | { readonly event: 'raise_refused' }
  /** NATS or its quorum is away. */
  | { readonly event: 'raise_unavailable' }
  /** Any message from the process. */
  | { readonly event: 'heard' }
  | { readonly event: 'serving' }
  | { readonly event: 'damaged'; readonly reason: string }
  /** `waiting`: it ended because NATS is away, which is no fault of it. */
  | { readonly event: 'exited'; readonly reason: string; readonly waiting: boolean }
  /** The topology has a higher assignment than the process. */
  | { readonly event: 'overtaken' }
  | { readonly event: 'tick' }
  | { readonly event: 'drain' };

export type ChildEventName = ChildEvent['event'];

export type ChildAction =
  | { readonly action: 'raise' }
  | { readonly action: 'spawn'; readonly assignment: number }
  /** Ends the process before the one just spawned. */
  | { readonly action: 'end_predecessor' }
  /** Ends the process. */
  | { readonly action: 'end' }
  | { readonly action: 'drain' }
  | { readonly action: 'mark_failed'; readonly reason: string }
  | { readonly action: 'mark_damaged'; readonly reason: string }
  | { readonly action: 'mark_recovered' };

export interface Step {
  readonly child: SupervisedChild;
  readonly actions: readonly ChildAction[];
}

type EventOf<E extends ChildEventName> = Extract<ChildEvent, { event: E }>;
type StateOf<S extends ChildStateName> = Extract<ChildState, { name: S }>;

interface Context {
  readonly child: SupervisedChild;
  readonly now: number;
  readonly limits: RestartLimits;
}

type Cell<S extends ChildStateName, E extends ChildEventName> = (
  context: Context,
  state: StateOf<S>,
  event: EventOf<E>,
) => Step;

/** Every state has a cell for every event: a forgotten one does not compile. */
type Table = { readonly [S in ChildStateName]: { readonly [E in ChildEventName]: Cell<S, E> } };

/** `marked`: the topology says `failed` already, from an earlier run. */
export function newChild(now: number, marked = false): SupervisedChild {
  return { state: { name: 'absent' }, starts: [], attempt: 0, marked, tickAt: now };
}

export function stepChild(
  child: SupervisedChild,
  event: ChildEvent,
  now: number,
  limits: RestartLimits = RESTART_LIMITS,
): Step {
  const row = TABLE[child.state.name] as Record<ChildEventName, Cell<ChildStateName, ChildEventName>>;
  if (event.event !== 'tick') return row[event.event]({ child, now, limits }, child.state, event);
  const ticked = forgiveStall({ ...child, tickAt: now }, now - child.tickAt, now, limits);
  return row.tick({ child: ticked, now, limits }, ticked.state, event);
}

/** Where the node itself stood still (a stopped machine, a full CPU), its children could not be heard. */
function forgiveStall(child: SupervisedChild, gap: number, now: number, limits: RestartLimits): SupervisedChild {
  if (gap <= limits.stallMs) return child;
  const { state } = child;
  switch (state.name) {
    case 'starting':
    case 'serving':
    case 'damaged':
      return { ...child, state: { ...state, heardAt: now } };
    default:
      return child;
  }
}

const stay = ({ child }: Context): Step => ({ child, actions: [] });

function go(child: SupervisedChild, state: ChildState, ...actions: ChildAction[]): Step {
  return { child: { ...child, state }, actions };
}

const raise = ({ child }: Context, predecessor: boolean): Step =>
  go(child, { name: 'raising', predecessor, retryAt: null }, { action: 'raise' });

const toAbsent = ({ child }: Context): Step => go(child, { name: 'absent' });
const endToAbsent = ({ child }: Context): Step => go(child, { name: 'absent' }, { action: 'end' });
const stop = ({ child }: Context): Step => go(child, { name: 'stopped' });
const drain = ({ child, now, limits }: Context): Step =>
  go(child, { name: 'draining', until: now + limits.drainMs }, { action: 'drain' });

function backOff({ child, now, limits }: Context): Step {
  const delay =
    child.attempt === 0 ? 0 : Math.min(limits.backOffMaxMs, limits.backOffMinMs * 2 ** Math.min(20, child.attempt - 1));
  return go({ ...child, attempt: child.attempt + 1 }, { name: 'backing_off', until: now + delay });
}

/** A start has come to nothing: once more, or not for a while. */
function startFailed(context: Context, reason: string, ...before: ChildAction[]): Step | null {
  const { child, now, limits } = context;
  const recent = child.starts.filter((at) => now - at < limits.failureWindowMs);
  if (!child.marked && recent.length < limits.startsMax) return null;
  return go(
    { ...child, starts: [], marked: true },
    { name: 'failed', until: now + limits.failedRetryMs, reason },
    ...before,
    { action: 'mark_failed', reason },
  );
}

function settleServing({ child, now }: Context): Step {
  const next: SupervisedChild = { ...child, starts: [], marked: false };
  const state: ChildState = { name: 'serving', since: now, heardAt: now };
  return child.marked ? go(next, state, { action: 'mark_recovered' }) : go(next, state);
}

function settleDamaged({ child, now }: Context, _: ChildState, event: EventOf<'damaged'>): Step {
  // It came up and says what is wrong: that is no failed start.
  const next: SupervisedChild = { ...child, starts: [], marked: false };
  return go(next, { name: 'damaged', heardAt: now }, { action: 'mark_damaged', reason: event.reason });
}

const replaceWhenSilent = (context: Context, heardAt: number): Step =>
  context.now - heardAt >= context.limits.silentMs ? raise(context, true) : stay(context);

const TABLE: Table = {
  absent: {
    want: (context) => raise(context, false),
    unwant: stay,
    raised: stay,
    raise_refused: stay,
    raise_unavailable: stay,
    heard: stay,
    serving: stay,
    damaged: stay,
    exited: stay,
    overtaken: stay,
    tick: stay,
    drain: stop,
  },
  raising: {
    want: stay,
    unwant: (context, state) => (state.predecessor ? endToAbsent(context) : toAbsent(context)),
    raised: ({ child, now }, state, { assignment }) =>
      go(
        { ...child, starts: [...child.starts, now] },
        { name: 'starting', heardAt: now },
        { action: 'spawn', assignment },
        ...(state.predecessor ? [{ action: 'end_predecessor' } as const] : []),
      ),
    raise_refused: (context, state) => (state.predecessor ? endToAbsent(context) : toAbsent(context)),
    raise_unavailable: ({ child, now, limits }, state) =>
      go(child, { ...state, retryAt: now + limits.unavailableRetryMs }),
    // What a predecessor still says changes nothing: its assignment may be raised by now.
    heard: stay,
    serving: stay,
    damaged: stay,
    exited: ({ child }, state) => go(child, { ...state, predecessor: false }),
    overtaken: stay,
    tick: ({ child, now }, state) =>
      state.retryAt !== null && now >= state.retryAt
        ? go(child, { ...state, retryAt: null }, { action: 'raise' })
        : { child, actions: [] },
    drain: (context, state) => (state.predecessor ? drain(context) : stop(context)),
  },
  starting: {
    want: stay,
    unwant: endToAbsent,
    raised: stay,
    raise_refused: stay,
    raise_unavailable: stay,
    heard: ({ child, now }, state) => go(child, { ...state, heardAt: now }),
    serving: settleServing,
    damaged: settleDamaged,
    exited: (context, _, { reason, waiting }) => {
      if (!waiting) return startFailed(context, reason) ?? backOff(context);
      const { child, now, limits } = context;
      const until = now + limits.unavailableRetryMs;
      return go({ ...child, starts: child.starts.slice(0, -1) }, { name: 'backing_off', until });
    },
    overtaken: (context) => raise(context, true),
    tick: (context, state) => {
      if (context.now - state.heardAt < context.limits.bootMs) return stay(context);
      return startFailed(context, 'it fell silent while it started', { action: 'end' }) ?? raise(context, true);
    },
    drain,
  },
  serving: {
    want: stay,
    unwant: endToAbsent,
    raised: stay,
    raise_refused: stay,
    raise_unavailable: stay,
    heard: ({ child, now }, state) => go(child, { ...state, heardAt: now }),
    serving: stay,
    damaged: settleDamaged,
    exited: (context, state) =>
      context.now - state.since >= context.limits.steadyMs
        ? backOff({ ...context, child: { ...context.child, attempt: 0 } })
        : backOff(context),
    overtaken: (context) => raise(context, true),
    tick: (context, state) => replaceWhenSilent(context, state.heardAt),
    drain,
  },
  damaged: {
    want: stay,
    unwant: endToAbsent,
    raised: stay,
    raise_refused: stay,
    raise_unavailable: stay,
    heard: ({ child, now }, state) => go(child, { ...state, heardAt: now }),
    // What a log has lost does not come back while the same process looks at it.
    serving: stay,
    damaged: settleDamaged,
    exited: backOff,
    // A repair raises the assignment.
    overtaken: (context) => raise(context, true),
    tick: (context, state) => replaceWhenSilent(context, state.heardAt),
    drain,
  },
  backing_off: {
    want: stay,
    unwant: toAbsent,
    raised: stay,
    raise_refused: stay,
    raise_unavailable: stay,
    heard: stay,
    serving: stay,
    damaged: stay,
    exited: stay,
    overtaken: stay,
    tick: (context, state) => (context.now >= state.until ? raise(context, false) : stay(context)),
    drain: stop,
  },
  failed: {
    want: stay,
    unwant: toAbsent,
    raised: stay,
    raise_refused: stay,
    raise_unavailable: stay,
    heard: stay,
    serving: stay,
    damaged: stay,
    exited: stay,
    overtaken: (context) => raise(context, false),
    tick: (context, state) => (context.now >= state.until ? raise(context, false) : stay(context)),
    drain: stop,
  },
  draining: {
    want: stay,
    unwant: stay,
    raised: stay,
    raise_refused: stay,
    raise_unavailable: stay,
    heard: stay,
    serving: stay,
    damaged: stay,
    exited: stop,
    overtaken: stay,
    tick: ({ child, now, limits }, state) =>
      now >= state.until
        ? go(child, { name: 'draining', until: now + limits.drainMs }, { action: 'end' })
        : { child, actions: [] },
    drain: stay,
  },
  stopped: {
    want: stay,
    unwant: stay,
    raised: stay,
    raise_refused: stay,
    raise_unavailable: stay,
    heard: stay,
    serving: stay,
    damaged: stay,
    exited: stay,
    overtaken: stay,
    tick: stay,
    drain: stay,
  },
};
