/**
 * Time and everything that takes time, under the test's control: timers fire when the test says, and whatever an actor
 * asks of the world (a record stored, a message delivered, a statement run) is a ticket that the test carries out, holds
 * back, repeats or loses. Between two such steps everything that can go on by itself does. One seed, one run.
 */
import { syncBuiltinESMExports } from 'node:module';
import timersPromises from 'node:timers/promises';
import { Random } from '../random.js';

/** A process, as far as the world can tell: once it is dead it gets no answer to anything any more. */
export interface Actor {
  readonly name: string;
  alive: boolean;
  /** Its watch of the topology has fallen silent. */
  deaf?: boolean;
}

export interface Ticket {
  readonly actor: Actor;
  readonly label: string;
  /** Carried out at the far end; and the answer comes back, at once or by a ticket of its own. */
  readonly carryOut: (answer: 'at once' | 'later') => void;
}

interface Timer {
  at: number;
  readonly order: number;
  readonly callback: () => void;
  readonly everyMs: number | null;
}

interface TimerHandle {
  timer: Timer | null;
  ref(): TimerHandle;
  unref(): TimerHandle;
  hasRef(): boolean;
  [Symbol.toPrimitive](): number;
}

const realImmediate = globalThis.setImmediate;
const TICKET_MS = 0.1;
const WALL_MS_AT_START = Date.UTC(2026, 0, 1);

export class VirtualRuntime {
  nowMs = 1_000_000;
  readonly tickets: Ticket[] = [];
  /** Tickets of such a label are held up, as if by themselves. */
  held: RegExp | null = null;
  /** Held up somewhere: they arrive long after whoever sent them has given up, or never. */
  private readonly late: Ticket[] = [];
  private readonly timers = new Set<Timer>();
  private immediates: (() => void)[] = [];
  private order = 0;
  private readonly random: Random;
  private restore: (() => void) | null = null;

  constructor(seed: number) {
    this.random = new Random(seed);
  }

  /** Takes the place of the process's own clocks and timers, until `uninstall`. */
  install(): void {
    const { setTimeout, clearTimeout, setInterval, clearInterval, setImmediate } = globalThis;
    const { now: performanceNow } = performance;
    const { now: dateNow } = Date;
    const { random } = Math;
    const { setTimeout: delay, setImmediate: turn } = timersPromises;
    const patch = (target: object, values: Record<string, unknown>): void => {
      Object.assign(target, values);
    };
    const clear = (handle: TimerHandle | undefined | null): void => {
      if (handle?.timer) this.timers.delete(handle.timer);
    };
    patch(globalThis, {
      setTimeout: (callback: () => void, ms = 0) => this.timer(callback, ms, null),
      setInterval: (callback: () => void, ms = 0) => this.timer(callback, ms, ms),
      setImmediate: (callback: () => void) => void this.immediates.push(callback),
      clearTimeout: clear,
      clearInterval: clear,
    });
    performance.now = () => this.nowMs;
    Date.now = () => WALL_MS_AT_START + Math.floor(this.nowMs);
    Math.random = () => this.random.next();
    patch(timersPromises, {
      setTimeout: (ms: number, value: unknown, options?: { signal?: AbortSignal }) =>
        new Promise((resolve, reject) => {
          const { signal } = options ?? {};
          const abort = (): void => {
            clear(handle);
            reject(new Error('aborted'));
          };
          const done = (): void => {
            signal?.removeEventListener('abort', abort);
            resolve(value);
          };
          const handle = this.timer(done, ms, null);
          signal?.addEventListener('abort', abort);
        }),
      setImmediate: () => new Promise<void>((resolve) => this.immediates.push(resolve)),
    });
    syncBuiltinESMExports();
    this.restore = () => {
      patch(globalThis, { setTimeout, clearTimeout, setInterval, clearInterval, setImmediate });
      performance.now = performanceNow;
      Date.now = dateNow;
      Math.random = random;
      patch(timersPromises, { setTimeout: delay, setImmediate: turn });
      syncBuiltinESMExports();
    };
  }

  uninstall(): void {
    this.restore?.();
    this.restore = null;
    this.timers.clear();
    this.tickets.length = 0;
    this.late.length = 0;
  }

  /**
   * Something that an actor asks of the world. `effect` happens when the ticket is carried out, if ever; where no answer
   * has come back after `timeoutMs`, `onTimeout` gives the promise's end (or throws it).
   */
  ask<T>(actor: Actor, label: string, effect: () => T, timeoutMs: number, onTimeout: () => T): Promise<T> {
    return this.askLater(actor, label, (answer) => answer(effect), timeoutMs, onTimeout);
  }

  /** The same, where the far end answers by itself, whenever it is ready: it calls `answer`, at most once. */
  askLater<T>(
    actor: Actor,
    label: string,
    effect: (answer: (value: () => T) => void) => void,
    timeoutMs: number,
    onTimeout: () => T,
  ): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      if (!actor.alive) return;
      const settle = (value: () => T): void => {
        clearTimeout(timer);
        if (!actor.alive) return;
        try {
          resolve(value());
        } catch (error) {
          reject(error);
        }
      };
      const timer = setTimeout(() => settle(onTimeout), timeoutMs);
      const carryOut: Ticket['carryOut'] = (when) => {
        effect((value) => {
          const held = outcomeOf(value);
          if (when === 'at once') settle(held);
          else this.tickets.push({ actor, label: `answer: ${label}`, carryOut: () => settle(held) });
        });
      };
      (this.held?.test(label) ? this.late : this.tickets).push({ actor, label, carryOut });
    });
  }

  /** Everything that goes on by itself, without time or a ticket. */
  async settle(): Promise<void> {
    for (;;) {
      await new Promise<void>((resolve) => void realImmediate(resolve));
      const { immediates } = this;
      if (immediates.length === 0) return;
      this.immediates = [];
      for (const callback of immediates) callback();
    }
  }

  async carryOut(at: number, answer: 'at once' | 'later', again = false): Promise<void> {
    const ticket = again ? this.tickets[at] : this.tickets.splice(at, 1)[0];
    if (!ticket) return;
    ticket.carryOut(answer);
    await this.settle();
    // Nothing is done in no time: who asks again and again would otherwise never meet a timer.
    await this.pass(TICKET_MS);
  }

  drop(at: number): void {
    this.tickets.splice(at, 1);
  }

  delay(at: number): void {
    this.late.push(...this.tickets.splice(at, 1));
  }

  /** One of those that were held up arrives. False: there is none. */
  async arriveLate(at: number): Promise<boolean> {
    if (this.late.length === 0) return false;
    this.tickets.unshift(...this.late.splice(at % this.late.length, 1));
    await this.carryOut(0, 'at once');
    return true;
  }

  /** Time goes on to `nowMs + ms`, and every timer that is due meanwhile fires. */
  async pass(ms: number): Promise<void> {
    const until = this.nowMs + ms;
    for (;;) {
      const next = this.nextTimer();
      if (!next || next.at > until) break;
      this.nowMs = Math.max(this.nowMs, next.at);
      if (next.everyMs === null) this.timers.delete(next);
      else next.at += Math.max(1, next.everyMs);
      next.callback();
      await this.settle();
    }
    this.nowMs = until;
  }

  /** Milliseconds until the next timer is due; null: there is none. */
  get untilNextTimer(): number | null {
    const next = this.nextTimer();
    return next ? Math.max(0, next.at - this.nowMs) : null;
  }

  private nextTimer(): Timer | null {
    let next: Timer | null = null;
    for (const timer of this.timers) {
      if (!next || timer.at < next.at || (timer.at === next.at && timer.order < next.order)) next = timer;
    }
    return next;
  }

  private timer(callback: () => void, ms: number, everyMs: number | null): TimerHandle {
    const handle: TimerHandle = {
      timer: null,
      ref: () => handle,
      unref: () => handle,
      hasRef: () => true,
      [Symbol.toPrimitive]: () => 0,
    };
    const timer: Timer = { at: this.nowMs + Math.max(0, ms), order: this.order++, callback, everyMs };
    handle.timer = timer;
    this.timers.add(timer);
    return handle;
  }
}

/** What the far end did is done, whenever its answer arrives. */
function outcomeOf<T>(value: () => T): () => T {
  try {
    const done = value();
    return () => done;
  } catch (error) {
    return () => {
      throw error;
    };
  }
}
