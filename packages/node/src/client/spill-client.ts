import {
  checkCount,
  type Names,
  SpillError,
  type StampedTransaction,
  type SubmitResult,
  type TransactionKey,
} from '@spill/core';
import type { Requester } from '../nats/request.js';
import type { CallOptions } from './options.js';
import { readBalanceReply, readPageReply, readTransactionReply } from './read-replies.js';
import { askWithRetries, type SubmitTry, submitWithRetries } from './retry.js';
import { askRouter } from './router-asker.js';
import { stampInput } from './stamp-input.js';
import type {
  AccountTransaction,
  Balance,
  BalanceError,
  RetrieveQuery,
  TransactionInput,
  TransactionList,
} from './types.js';

/** After this, a try at a router is given up for another one: its process may be dead. Milliseconds. */
const ROUTER_TRY_MS_MAX = 2_000;

export interface SpillClientOptions {
  readonly names: Names;
  readonly request: Requester;
  readonly via: 'router' | 'shards';
  readonly deadlineMs: number;
  readonly submit: SubmitTry;
  readonly disconnect: () => Promise<void>;
}

/**
 * A connection to a spill cluster. Calls made in the same tick travel together: there is no need to gather
 * transactions before submitting them.
 */
export class SpillClient {
  private underWay = 0;
  private whenIdle: (() => void)[] = [];
  private closing: Promise<void> | null = null;

  constructor(private readonly options: SpillClientOptions) {}

  /** How transactions travel: straight to the shards, or through a router. */
  get via(): 'router' | 'shards' {
    return this.options.via;
  }

  /**
   * Has one transaction, or 1 to 8,192 of them, stored durably. Results come in the order of the transactions; `stored`
   * and `duplicate` mean that it is durable and counts once, not that its row's constraint has been asked. A result
   * whose `status` is `rejected` holds a SpillError, which says whether to try again.
   *
   * Id and timestamp are fixed before the first try; tries go on until the deadline. A timestamp that this client gave
   * by a wrong clock is replaced as long as no try can have been stored under it.
   *
   * @throws SpillError `invalid_transaction` where a single transaction can't be one; `malformed` or `batch_too_large`
   * for an array of the wrong length; `unavailable` once the client is closed.
   */
  submit(transaction: TransactionInput, options?: CallOptions): Promise<SubmitResult>;
  submit(transactions: readonly TransactionInput[], options?: CallOptions): Promise<SubmitResult[]>;
  submit(
    input: TransactionInput | readonly TransactionInput[],
    options: CallOptions = {},
  ): Promise<SubmitResult | SubmitResult[]> {
    return isList(input) ? this.submitList(input, options) : this.submitOne(input, options);
  }

  /** One transaction. @throws SpillError `not_found`, or why it can't be told. */
  get(key: TransactionKey, options?: CallOptions): Promise<AccountTransaction & { readonly account: string }> {
    const { account, id } = key;
    const subject = this.options.names.transactions('get');
    return this.ask(subject, { account, id }, options).then((reply) => ({ account, ...readTransactionReply(reply) }));
  }

  /** A page of an account's transactions, by timestamp. @throws SpillError */
  retrieve(query: RetrieveQuery, options?: CallOptions): Promise<TransactionList> {
    const given = Object.fromEntries(Object.entries(query).filter(([, value]) => value !== undefined));
    return this.ask(this.options.names.transactions('retrieve'), given, options).then(readPageReply);
  }

  /**
   * The balance of an account, or of up to 1,000. It contains every transaction acknowledged before the call.
   *
   * @throws SpillError; for a list, an account that can't be told has its error in its place.
   */
  balance(account: string, options?: CallOptions): Promise<Balance>;
  balance(accounts: readonly string[], options?: CallOptions): Promise<(Balance | BalanceError)[]>;
  async balance(
    asked: string | readonly string[],
    options?: CallOptions,
  ): Promise<Balance | (Balance | BalanceError)[]> {
    const subject = this.options.names.balanceGet();
    if (typeof asked !== 'string') {
      const { balances } = await this.ask(subject, { accounts: asked }, options);
      return (balances as Record<string, unknown>[]).map(readBalanceReply);
    }
    const balance = readBalanceReply(await this.ask(subject, { account: asked }, options));
    if ('error' in balance) throw balance.error;
    return balance;
  }

  /** Takes no more calls, waits for those under way, and closes the connection. */
  close(): Promise<void> {
    this.closing ??= this.idle().then(this.options.disconnect);
    return this.closing;
  }

  private submitOne(input: TransactionInput, options: CallOptions): Promise<SubmitResult> {
    const stamped = stampInput(input, -1, Date.now() * 1_000);
    if (!isResult(stamped)) return this.submitStamped([stamped], options, firstOf);
    return stamped.status === 'rejected' ? Promise.reject(stamped.error) : Promise.resolve(stamped);
  }

  private async submitList(inputs: readonly TransactionInput[], options: CallOptions): Promise<SubmitResult[]> {
    checkCount(inputs.length);
    const now = Date.now() * 1_000;
    const stamped = inputs.map((input, index) => stampInput(input, index, now));
    const valid = stamped.filter((item): item is StampedTransaction => !isResult(item));
    const results = await this.submitStamped(valid, options, itself);
    if (valid.length === stamped.length) return results;
    let next = 0;
    return stamped.map((item) => (isResult(item) ? item : (results[next++] as SubmitResult)));
  }

  private submitStamped<R>(
    transactions: readonly StampedTransaction[],
    { deadlineMs = this.options.deadlineMs }: CallOptions,
    give: (results: SubmitResult[]) => R,
  ): Promise<R> {
    if (this.closing) return this.refuse();
    const { via, submit } = this.options;
    const tryMsMax = via === 'router' ? ROUTER_TRY_MS_MAX : deadlineMs;
    this.underWay += 1;
    return new Promise((resolve) =>
      submitWithRetries(transactions, deadlineMs, tryMsMax, submit, (results) => {
        this.ended();
        resolve(give(results));
      }),
    );
  }

  private ask(
    subject: string,
    question: Record<string, unknown>,
    { deadlineMs = this.options.deadlineMs }: CallOptions = {},
  ): Promise<Record<string, unknown>> {
    if (this.closing) return this.refuse();
    this.underWay += 1;
    return askWithRetries(deadlineMs, ROUTER_TRY_MS_MAX, (tryMs) =>
      askRouter(this.options.request, subject, question, tryMs),
    ).finally(() => this.ended());
  }

  private refuse(): Promise<never> {
    return Promise.reject(new SpillError('unavailable', 'this client is closed'));
  }

  private ended(): void {
    if (--this.underWay === 0) for (const resolve of this.whenIdle.splice(0)) resolve();
  }

  private idle(): Promise<void> {
    if (this.underWay === 0) return Promise.resolve();
    return new Promise((resolve) => this.whenIdle.push(resolve));
  }
}

function isList(input: TransactionInput | readonly TransactionInput[]): input is readonly TransactionInput[] {
  return Array.isArray(input);
}

function isResult(item: StampedTransaction | SubmitResult): item is SubmitResult {
  return 'status' in item;
}

function firstOf(results: readonly SubmitResult[]): SubmitResult {
  return results[0] as SubmitResult;
}

function itself<T>(answer: T): T {
  return answer;
}
