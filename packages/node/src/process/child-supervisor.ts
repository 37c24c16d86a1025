import { ForkedChild, type ForkedChildOptions } from './forked-child.js';
import { type ChildToNode, ExitCode, type LogLevel, type StartMessage } from './messages.js';
import type { NodeLog } from './node-log.js';
import {
  type ChildAction,
  type ChildEvent,
  type ChildState,
  newChild,
  RESTART_LIMITS,
  type RestartLimits,
  type SupervisedChild,
  stepChild,
} from './restart-policy.js';

export type RaiseOutcome =
  | { readonly outcome: 'raised'; readonly assignment: number; readonly start: StartMessage }
  /** The topology names another node. */
  | { readonly outcome: 'refused' }
  /** NATS or its quorum is away. */
  | { readonly outcome: 'unavailable'; readonly detail: string };

export interface ChildSupervisorOptions extends Pick<ForkedChildOptions, 'script' | 'label' | 'records' | 'log'> {
  readonly limits?: RestartLimits;
  /** The topology says `failed` already, from an earlier run. */
  readonly marked?: boolean;
  /** Writes a new assignment into the topology and gathers what the process needs. Never rejects. */
  raise(): Promise<RaiseOutcome>;
  /** Whether NATS is away, as far as this node sees. */
  natsAway(): boolean;
  /** Anything that the present process says, after the policy has seen it. */
  onMessage(message: ChildToNode): void;
  onStateChange(state: ChildState): void;
  /** To be put into the topology. */
  mark(mark: Extract<ChildAction, { action: `mark_${string}` }>): void;
}

const TICK_MS = 250;

/**
 * Carries out what the restart policy decides for one child: one present process, and at most for a moment its
 * predecessor, whose words no longer count.
 */
export class ChildSupervisor {
  private child: SupervisedChild;
  private process: ForkedChild | null = null;
  private predecessor: ForkedChild | null = null;
  /** What `raise` gathered for the process that is spawned next. */
  private nextStart: StartMessage | null = null;
  /** The highest that this node has raised. 0: none yet. */
  private raised = 0;
  private exits = Promise.resolve();
  private lastCode: number | null = null;
  private readonly timer: NodeJS.Timeout;
  private readonly log: NodeLog;

  constructor(private readonly options: ChildSupervisorOptions) {
    this.log = options.log;
    this.child = newChild(performance.now(), options.marked);
    this.timer = setInterval(() => this.feed({ event: 'tick' }), TICK_MS);
  }

  get state(): ChildState {
    return this.child.state;
  }

  get pid(): number | undefined {
    return this.process?.pid;
  }

  /** Of the present process, or the one about to be started. */
  get assignment(): number {
    return this.raised;
  }

  want(): void {
    this.feed({ event: 'want' });
  }

  unwant(): void {
    this.feed({ event: 'unwant' });
  }

  /** What the topology says: an assignment above one's own, raised by somebody else, calls for a new process. */
  topologySays(assignment: number): void {
    if (this.raised > 0 && assignment > this.raised) this.feed({ event: 'overtaken' });
  }

  /**
   * Asks the process to finish, waits until it has ended, and ends it where that takes too long. False where it did
   * not end by itself.
   */
  async drain(): Promise<boolean> {
    const asked = this.process;
    this.feed({ event: 'drain' });
    await this.exits;
    clearInterval(this.timer);
    return asked === null || this.lastCode === ExitCode.drained;
  }

  /** Ends the process at once. */
  async end(): Promise<void> {
    this.feed({ event: 'drain' });
    this.process?.end();
    this.predecessor?.end();
    await this.exits;
    clearInterval(this.timer);
  }

  private feed(event: ChildEvent): void {
    const before = this.child.state;
    const { child, actions } = stepChild(this.child, event, performance.now(), this.options.limits ?? RESTART_LIMITS);
    this.child = child;
    if (before.name !== child.state.name) this.logChange(before, child.state, event);
    for (const action of actions) this.act(action);
    if (before.name !== child.state.name) this.options.onStateChange(child.state);
  }

  private act(action: ChildAction): void {
    switch (action.action) {
      case 'raise':
        void this.raise();
        return;
      case 'spawn':
        this.spawn();
        return;
      case 'end_predecessor':
        this.predecessor?.end();
        return;
      case 'end':
        this.process?.end();
        return;
      case 'drain':
        this.process?.send({ type: 'drain' });
        return;
      default:
        this.options.mark(action);
    }
  }

  private async raise(): Promise<void> {
    const outcome = await this.options.raise();
    if (outcome.outcome === 'raised') {
      this.raised = outcome.assignment;
      this.nextStart = outcome.start;
      this.feed({ event: 'raised', assignment: outcome.assignment });
    } else if (outcome.outcome === 'refused') {
      this.feed({ event: 'raise_refused' });
    } else {
      this.log.debug(`${this.options.label}: waits for NATS (${outcome.detail})`);
      this.feed({ event: 'raise_unavailable' });
    }
  }

  private spawn(): void {
    const start = this.nextStart;
    if (!start) throw new Error(`${this.options.label}: a process is to be started without an assignment`);
    this.predecessor = this.process;
    let exited = (): void => {};
    const exit = new Promise<void>((resolve) => {
      exited = resolve;
    });
    this.exits = Promise.all([this.exits, exit]).then(() => {});
    const spawned: ForkedChild = new ForkedChild({
      script: this.options.script,
      label: this.options.label,
      records: this.options.records,
      log: this.log,
      start,
      onMessage: (message) => {
        if (this.process === spawned) this.hear(message);
      },
      onExit: ({ code, reason }) => {
        exited();
        if (this.predecessor === spawned) this.predecessor = null;
        if (this.process !== spawned) return;
        this.process = null;
        this.lastCode = code;
        const waiting = code === ExitCode.waiting || this.options.natsAway();
        this.feed({ event: 'exited', reason: `its process ${reason}`, waiting });
      },
    });
    this.process = spawned;
  }

  private hear(message: ChildToNode): void {
    this.feed({ event: 'heard' });
    if (message.type === 'serving') this.feed({ event: 'serving' });
    else if (message.type === 'damaged') this.feed({ event: 'damaged', reason: message.reason });
    else if (message.type === 'log') this.logFromChild(message.level, message.message);
    this.options.onMessage(message);
  }

  private logFromChild(level: LogLevel, message: string): void {
    const { label } = this.options;
    this.log.at(level, message.startsWith(label) ? message : `${label}: ${message}`);
  }

  private logChange(before: ChildState, after: ChildState, event: ChildEvent): void {
    const why = event.event === 'exited' ? event.reason : event.event === 'tick' ? null : event.event;
    const { label } = this.options;
    const pid = this.process?.pid === undefined ? '' : `, pid ${this.process.pid}`;
    const detail = `${label}: ${before.name} → ${after.name}${why ? ` (${why}${pid})` : ''}`;
    if (after.name === 'failed') this.log.error(`${label}: failed, tried again every 60 s: ${after.reason}`);
    else if (after.name === 'damaged' && event.event === 'damaged')
      this.log.error(`${label}: damaged: ${event.reason}`);
    else if (event.event === 'exited' && after.name !== 'stopped') this.log.warn(detail);
    else if (after.name === 'raising' && event.event === 'tick' && before.name !== 'backing_off') {
      this.log.warn(`${label}: ${before.name === 'failed' ? 'tried again' : `silent${pid}, is replaced`}`);
    } else if (after.name === 'serving') this.log.info(`${label}: serving${pid}`);
    else this.log.debug(detail);
  }
}
