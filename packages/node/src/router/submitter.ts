/**
 * Gets transactions stored: shared by the router and by clients that may talk to shards themselves.
 *
 * Transactions of all calls gather per owner shard into batches (lane.ts), each sent by request/reply to the process
 * that the topology names. What the end of an attempt means is decided in core (router/attempt.ts); here it is carried
 * out: look the topology up, wait, send again, take the direct path, or give up at the call's deadline.
 */
import {
  ATTEMPT_RULES,
  type AttemptEvent,
  afterLook,
  type GiveUpCode,
  isLedgerOf,
  REMAINING_MS_MIN,
  RESTAMPS_MAX,
  ReplyCode,
  RouteTable,
  RowStatus,
  readSubmitReply,
  restamp,
  type SpillError,
  type StampedTransaction,
  type SubmitReply,
  type SubmitResult,
  writeSubmitRequest,
} from '@spill/core';
import { AccountSlots, NO_SLOT } from './account-slots.js';
import { byDeadline } from './by-deadline.js';
import { Lane } from './lane.js';
import { Reachability } from './reachability.js';
import { ShardBatch } from './shard-batch.js';
import { type ShardRequests, type ShardTarget, targetOf } from './shard-requests.js';
import { type OnResults, SubmitCall } from './submit-call.js';
import { aheadError, foreignAccountError, giveUpError, overloadedError, rowError } from './submit-errors.js';
import type { TopologyCache } from './topology-cache.js';

export interface SubmitterSettings {
  /** Of a batch, bytes; must be below the server's max_payload. */
  readonly recordBytesMax: number;
  readonly directAfterMs: number;
  /** Transactions taken and not answered yet; past it, `overloaded`. */
  readonly transactionsMax: number;
  /** The same, for the way to one shard. */
  readonly shardTransactionsMax: number;
  readonly shardRequestsInFlightMax: number;
  /** null: this process is a client's, whose clock says nothing of the cluster's. */
  readonly maxClockSkewMicros: number | null;
}

export const SUBMITTER_DEFAULTS: SubmitterSettings = {
  recordBytesMax: 512 * 1024,
  directAfterMs: 1_000,
  transactionsMax: 262_144,
  shardTransactionsMax: 131_072,
  shardRequestsInFlightMax: 8,
  maxClockSkewMicros: null,
};

/**
 * The way round the shards, for a transaction that certainly reached none of them. Resolves with its result, also
 * where it could not be carried out.
 */
export type DirectPath = (
  transaction: StampedTransaction,
  remainingMs: number,
  /** Whether the shard folds into this ledger. */
  isLedger: (ledgerId: string) => boolean,
) => Promise<SubmitResult>;

export interface SubmitterOptions {
  readonly requests: ShardRequests;
  readonly topology: TopologyCache;
  /** null: there is none; such transactions wait for their shard until the deadline. */
  readonly direct: DirectPath | null;
  readonly settings: SubmitterSettings;
}

/** What this process keeps for each shard. */
interface ShardWay {
  readonly lane: Lane<ShardBatch>;
  readonly reachability: Reachability;
  /** Not null while the shard need not be asked, since it has just said that it takes nothing. */
  refusal: SpillError | null;
}

/** A transaction whose attempt has failed. */
interface Row {
  readonly call: SubmitCall;
  readonly index: number;
}

const EVENT_OF_CODE: Readonly<Record<ReplyCode, AttemptEvent>> = {
  [ReplyCode.ok]: 'answered',
  [ReplyCode.unavailable]: 'unavailable',
  [ReplyCode.overloaded]: 'overloaded',
  [ReplyCode.timeout]: 'late',
  [ReplyCode.malformed]: 'malformed',
};

/** After so long without a newer topology it is read: the watch is only a hint. */
const MOVE_WAIT_MS = 25;
/**
 * For so long at most a shard that has too much waiting is not asked again: each batch that it refuses takes time from its
 * folds, which alone make room.
 */
const HOLD_OFF_MS_MAX = 100;
/** Suggested to clients where a bound of this process, not of a shard, was met. */
const RETRY_AFTER_MS = 100;

export class Submitter {
  private readonly slots: AccountSlots;
  /** By the shard's number: a Map takes a twentieth of all that a client does for a transaction. */
  private readonly ways: ShardWay[] = [];
  private routes: RouteTable;
  private taken = 0;
  private whenIdle: (() => void)[] = [];
  private wakeOnChange = new Set<() => void>();

  constructor(private readonly options: SubmitterOptions) {
    this.slots = new AccountSlots(() => options.topology.current.accountType);
    this.routes = new RouteTable(options.topology.current);
    options.topology.onChange((topology) => {
      this.routes = new RouteTable(topology);
      for (const wake of this.wakeOnChange) wake();
    });
  }

  /**
   * Has transactions stored and resolves with their results, in order; it never rejects. A transaction stamped by
   * spill may get another timestamp in place.
   */
  submit(transactions: readonly StampedTransaction[], deadlineMs: number): Promise<SubmitResult[]> {
    return new Promise((resolve) => this.take(transactions, deadlineMs, resolve));
  }

  /** Like `submit`, and tells `onResults`. */
  take(transactions: readonly StampedTransaction[], deadlineMs: number, onResults: OnResults): void {
    const call = new SubmitCall(transactions, performance.now() + deadlineMs, this.onSettled, onResults);
    this.taken += transactions.length;
    const overloaded = this.taken > this.options.settings.transactionsMax;
    for (let index = 0; index < transactions.length; index++) {
      const { account } = transactions[index] as StampedTransaction;
      if (this.slots.slotToStore(account) === NO_SLOT) {
        call.reject(index, foreignAccountError(account, this.options.topology.current.accountType));
      } else if (overloaded) {
        call.reject(index, overloadedError('too many transactions wait for their answers here', RETRY_AFTER_MS));
      } else {
        this.route(call, index);
      }
    }
  }

  /** Resolves once every transaction taken so far is answered. */
  idle(): Promise<void> {
    if (this.taken === 0) return Promise.resolve();
    return new Promise((resolve) => this.whenIdle.push(resolve));
  }

  /** The slot of an account, whatever the data table makes of it. */
  slot(account: string): number {
    return this.slots.slot(account);
  }

  private readonly onSettled = (): void => {
    if (--this.taken > 0) return;
    const waiting = this.whenIdle;
    this.whenIdle = [];
    for (const resolve of waiting) resolve();
  };

  private shardFor(transaction: StampedTransaction): number {
    return this.routes.shardFor(this.slots.slotToStore(transaction.account), transaction.amount);
  }

  private route(call: SubmitCall, index: number): void {
    const shard = this.shardFor(call.transactions[index] as StampedTransaction);
    const { lane, refusal } = this.way(shard);
    if (refusal) call.reject(index, refusal);
    else if (lane.rows < this.options.settings.shardTransactionsMax) lane.add(call, index);
    else call.reject(index, overloadedError(`too many transactions wait for shard ${shard} here`, RETRY_AFTER_MS));
  }

  private way(shard: number): ShardWay {
    let way = this.ways[shard];
    if (!way) {
      const { recordBytesMax, shardRequestsInFlightMax } = this.options.settings;
      const lane = new Lane({
        requestsInFlightMax: shardRequestsInFlightMax,
        newBatch: (deadline) => new ShardBatch(deadline, recordBytesMax),
        send: (batch) => this.send(shard, batch),
      });
      way = { lane, reachability: new Reachability(), refusal: null };
      this.ways[shard] = way;
    }
    return way;
  }

  private async send(shard: number, batch: ShardBatch): Promise<void> {
    const target = targetOf(this.options.topology.current, shard);
    const { reachability } = this.way(shard);
    const remainingMs = batch.deadline - performance.now();
    if (remainingMs < REMAINING_MS_MIN) return this.failBatch(batch, 'late', target);
    const outcome = await this.options.requests.send(
      target,
      'submit',
      writeSubmitRequest(remainingMs, batch.finish()),
      remainingMs,
    );
    switch (outcome.outcome) {
      case 'no_responders':
        reachability.noResponders(target.assignment, performance.now());
        return this.failBatch(batch, 'no_responders', target);
      case 'not_sent':
        return this.failBatch(batch, 'not_sent', target, outcome.detail);
      case 'answer':
        reachability.reachable();
        return this.readAnswer(batch, outcome.data, target);
      default:
        reachability.reachable();
        return this.failBatch(batch, outcome.outcome, target);
    }
  }

  private readAnswer(batch: ShardBatch, data: Uint8Array, target: ShardTarget): void {
    let reply: SubmitReply;
    try {
      reply = readSubmitReply(data);
    } catch (error) {
      // Something answered that is no shard of this release; whether it stored anything can't be told.
      this.failBatch(batch, 'unavailable', target, (error as Error).message);
      return;
    }
    const event = EVENT_OF_CODE[reply.code];
    if (event === 'overloaded') this.holdOff(target.shard, reply);
    if (event === 'answered') this.settleBatch(batch, reply, target);
    else this.failBatch(batch, event, target, reply.message, reply.retryAfterMs);
  }

  /** Without a time it was said of that request alone. */
  private holdOff(shard: number, { message, retryAfterMs }: SubmitReply): void {
    const way = this.way(shard);
    if (way.refusal || retryAfterMs === 0) return;
    way.refusal = giveUpError('overloaded', 'overloaded', shard, message, retryAfterMs);
    setTimeout(
      () => {
        way.refusal = null;
      },
      Math.min(retryAfterMs, HOLD_OFF_MS_MAX),
    ).unref();
  }

  /** Gives each row of an answered batch its result, and tries those again that have none. */
  private settleBatch(batch: ShardBatch, reply: SubmitReply, target: ShardTarget): void {
    const { calls, indexes } = batch;
    const { shard } = target;
    const { sequence, statuses } = reply;
    const moved: Row[] = [];
    for (let row = 0; row < calls.length; row++) {
      const call = calls[row] as SubmitCall;
      const index = indexes[row] as number;
      const transaction = call.transactions[index] as StampedTransaction;
      const { id, timestamp } = transaction;
      const status: RowStatus = statuses.length === 0 ? RowStatus.stored : (statuses[row] as RowStatus);
      switch (status) {
        case RowStatus.stored:
          call.settle(index, { id, status: 'stored', shard, sequence, timestamp });
          break;
        case RowStatus.duplicate: {
          const first = reply.firsts.get(row);
          call.settle(index, {
            id,
            status: 'duplicate',
            shard: first?.shard ?? null,
            sequence: first?.sequence ?? null,
            timestamp: first?.timestamp ?? timestamp,
          });
          break;
        }
        case RowStatus.moved:
          moved.push({ call, index });
          break;
        case RowStatus.restamp:
          this.restampRow({ call, index }, reply.horizon, target);
          break;
        case RowStatus.ahead:
          if (transaction.stamped) this.restampRow({ call, index }, reply.horizon, target);
          else call.reject(index, aheadError(timestamp, shard, this.options.settings.maxClockSkewMicros));
          break;
        case RowStatus.unavailable:
          call.reject(index, giveUpError('unavailable', 'ledger_away', shard, '', 0));
          break;
        default:
          call.reject(index, rowError(status, transaction, reply.firsts.get(row)));
      }
    }
    if (moved.length > 0) this.fail(moved, 'moved', target, '', 0);
  }

  /** Stamps a transaction again, just above the shard's horizon, and sends it again. */
  private restampRow(row: Row, horizon: number, target: ShardTarget): void {
    const { call, index } = row;
    const transaction = transactionOf(row);
    const trouble = call.trouble(index);
    trouble.restamps += 1;
    if (!transaction.stamped || trouble.restamps > RESTAMPS_MAX) {
      call.reject(index, giveUpError('unavailable', 'restamp', target.shard, '', 0));
      return;
    }
    transaction.timestamp = restamp(horizon, trouble.restamps);
    this.route(call, index);
  }

  private failBatch(batch: ShardBatch, event: AttemptEvent, target: ShardTarget, detail = '', retryAfterMs = 0): void {
    const rows = batch.indexes.map((index, row) => ({ call: batch.calls[row] as SubmitCall, index }));
    this.fail(rows, event, target, detail, retryAfterMs);
  }

  /** An attempt of these rows has ended without a result for them. */
  private fail(
    rows: readonly Row[],
    event: AttemptEvent,
    target: ShardTarget,
    detail: string,
    retryAfterMs: number,
  ): void {
    const goOn: Row[] = [];
    // One for all of them: making a thousand errors takes a router longer than all else about a refused batch.
    const errors = new Map<GiveUpCode, SpillError>();
    for (const row of rows) {
      const rule = ATTEMPT_RULES[event][row.call.doubt(row.index)];
      if (rule.step === 'look') {
        const trouble = row.call.trouble(row.index);
        trouble.attempts += 1;
        trouble.doubt = rule.doubt;
        goOn.push(row);
      } else {
        const code: GiveUpCode = rule.step === 'give_up' ? rule.code : 'internal';
        const error =
          errors.get(code) ?? giveUpError(code, event, target.shard, detail, retryAfterMs || RETRY_AFTER_MS);
        errors.set(code, error);
        row.call.reject(row.index, error);
      }
    }
    if (goOn.length === 0) return;
    if (event === 'moved') this.followMove(goOn, target, detail);
    else void this.lookAgain(goOn, event, target, detail);
  }

  /**
   * A shard has refused these because their slots are not its own. Where the new owner is known already they go there;
   * else they are in the pause of a move, which ends with a newer topology, and asking would only prolong it.
   */
  private followMove(rows: readonly Row[], target: ShardTarget, detail: string): void {
    const waiting: Row[] = [];
    for (const row of rows) {
      if (this.shardFor(transactionOf(row)) === target.shard) waiting.push(row);
      else this.route(row.call, row.index);
    }
    if (waiting.length === 0) return;
    const remainingMs = Math.min(...waiting.map(({ call }) => call.deadline)) - performance.now();
    const look = (): void => void this.lookAgain(waiting, 'moved', target, detail);
    this.routeLater(waiting, Math.min(MOVE_WAIT_MS, Math.max(0, remainingMs)), look);
  }

  /** Reads the topology and decides for each row where it goes from here. Never rejects. */
  private async lookAgain(
    rows: readonly Row[],
    event: AttemptEvent,
    target: ShardTarget,
    detail: string,
  ): Promise<void> {
    const topologyRead = await this.readTopology(Math.max(...rows.map(({ call }) => call.deadline)));
    const now = performance.now();
    const unreachableMs = this.way(target.shard).reachability.unreachableMs(target.assignment);
    const { settings, direct } = this.options;
    const waiting = new Map<number, Row[]>();
    for (const row of rows) {
      const { call, index } = row;
      const transaction = transactionOf(row);
      const trouble = call.trouble(index);
      const remainingMs = call.deadline - now;
      const next = targetOf(this.options.topology.current, this.shardFor(transaction));
      const decision = afterLook({
        event,
        doubt: trouble.doubt,
        topologyRead,
        targetChanged: next.shard !== target.shard || next.assignment !== target.assignment,
        unreachableMs,
        directAfterMs: direct === null ? Number.POSITIVE_INFINITY : settings.directAfterMs,
        remainingMs,
        attempts: trouble.attempts,
      });
      if (decision.next === 'send') this.route(call, index);
      else if (decision.next === 'give_up') {
        call.reject(index, giveUpError(decision.code, event, target.shard, detail, RETRY_AFTER_MS));
      } else if (decision.next === 'direct' && direct !== null) {
        const isLedger = (id: string): boolean => isLedgerOf(this.options.topology.current, next.shard, id);
        void direct(transaction, remainingMs, isLedger).then((result) => call.settle(index, result));
      } else {
        const waitMs = decision.next === 'wait' ? decision.waitMs : 0;
        const group = waiting.get(waitMs);
        if (group) group.push(row);
        else waiting.set(waitMs, [row]);
      }
    }
    for (const [waitMs, group] of waiting) this.routeLater(group, waitMs);
  }

  /** Whether a read of the topology that began now has ended well, by the deadline. */
  private async readTopology(deadline: number): Promise<boolean> {
    if (deadline - performance.now() < REMAINING_MS_MIN) return false;
    try {
      await byDeadline(deadline, this.options.topology.refresh(), () => new Error('not read before the deadline'));
      return true;
    } catch {
      // JetStream is away: nothing is certain, and the transactions wait.
      return false;
    }
  }

  /** Sends rows again as soon as the topology changes; where it does not for `waitMs`, does `late`. */
  private routeLater(rows: readonly Row[], waitMs: number, late?: () => void): void {
    const route = (): void => {
      for (const { call, index } of rows) this.route(call, index);
    };
    const wake = (): void => {
      clearTimeout(timer);
      this.wakeOnChange.delete(wake);
      route();
    };
    const timer = setTimeout(() => {
      this.wakeOnChange.delete(wake);
      (late ?? route)();
    }, waitMs);
    this.wakeOnChange.add(wake);
  }
}

function transactionOf({ call, index }: Row): StampedTransaction {
  return call.transactions[index] as StampedTransaction;
}
