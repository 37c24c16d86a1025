/**
 * Traffic as hard as real clients would make it, and a model of what they were told.
 *
 * ```
 *  1,000 single clients ─┐                       ┌─ retries of what may be retried, with the same id
 *  batches of up to 50 ──┼─▶ router ─▶ answers ──┼─ the model: acknowledged, or not
 *  probes ───────────────┘                       └─ a probe's balance, exact at every moment
 * ```
 *
 * A few hot accounts and many others, all three pools, JSON and MessagePack, with timestamps and without; some
 * transactions are sent twice, some ids are used again with another amount, some clients never try again.
 */
import { setTimeout as delay } from 'node:timers/promises';
import type { Pool } from '@spill/core';
import { type LoadAnswer, LoadClient } from './load-client.js';
import { LoadModel, type LoadTransaction } from './load-model.js';
import { Random } from './random.js';

export interface LoadOptions {
  readonly natsUrl: string;
  readonly seed: number;
  readonly hotAccounts?: number;
  readonly accounts?: number;
  /** Clients that send one transaction at a time. */
  readonly singles?: number;
  /** Clients that send batches of up to 50. */
  readonly batches?: number;
  /** How long each client rests before it sends the next; absent: not at all. */
  readonly restMs?: number;
  /** As the cluster has it: 1,000,000. */
  readonly largeThreshold?: number;
  /** Goes on with what an earlier load was told. */
  readonly model?: LoadModel;
  /** Begins every id: different for each load of one model. */
  readonly prefix?: string;
  /** Names of accounts from their numbers; 0 is the first hot one. */
  readonly nameOf?: (account: number) => string;
  /** Accounts of their own whose balance is read after every answer; named by negative numbers. */
  readonly probes?: number;
  /** Whether some are sent twice; not where ids are forgotten so soon that a second one could be stored too. */
  readonly duplicates?: boolean;
  /** Only amounts of these pools; all three where absent. */
  readonly pools?: readonly Pool[];
  /** What the probes' rows held before; 0 where absent. */
  readonly opening?: bigint;
}

export interface Load {
  readonly model: LoadModel;
  /** Transactions sent and not answered at this moment. */
  readonly inFlight: number;
  readonly inFlightMax: number;
  /** Balances of probes that were read and were right. */
  readonly balancesRead: number;
  /** Resolves once in each of its pools so many transactions were stored that were first sent after this call. */
  flows(count?: number, waitMs?: number): Promise<void>;
  /** Sends nothing new, and resolves when everything that is tried again has been acknowledged. */
  finish(): Promise<void>;
}

export const HOT_ACCOUNTS = 5;
export const ACCOUNTS = 10_000;
export const LARGE_THRESHOLD = 1_000_000;

const POOLS: readonly Pool[] = ['credit', 'debit', 'large'];
const CONNECTIONS = 3;
const PROBES = 3;
const RECENT_KEPT = 4_096;
const BATCH_MAX = 50;
const FINISH_MS = 60_000;

export function hotAccount(number: number): string {
  return `hot-${number}`;
}

export function coldAccount(number: number): string {
  return `account-${number}`;
}

export function probeAccount(prefix: string, number: number): string {
  return `probe-${prefix}${number}`;
}

/** All accounts that loads with these prefixes send to, for whoever creates their rows. */
export function loadAccounts(prefixes: readonly string[]): string[] {
  return [
    ...Array.from({ length: HOT_ACCOUNTS }, (_, i) => hotAccount(i)),
    ...Array.from({ length: ACCOUNTS }, (_, i) => coldAccount(i)),
    ...prefixes.flatMap((prefix) => Array.from({ length: PROBES }, (_, i) => probeAccount(prefix, i))),
  ];
}

export async function startLoad(options: LoadOptions): Promise<Load> {
  const clients = await Promise.all(Array.from({ length: CONNECTIONS }, () => LoadClient.open(options.natsUrl)));
  const run = new LoadRun(options, clients);
  run.start();
  return run;
}

interface Flow {
  readonly from: number;
  readonly counts: Record<Pool, number>;
  readonly count: number;
  readonly resolve: () => void;
}

class LoadRun implements Load {
  readonly model: LoadModel;
  inFlight = 0;
  inFlightMax = 0;
  balancesRead = 0;
  private readonly random: Random;
  private readonly prefix: string;
  private readonly pools: readonly Pool[];
  private readonly recent: LoadTransaction[] = [];
  private readonly workers: Promise<void>[] = [];
  private flowing: Flow[] = [];
  private numbered = 0;
  private stopping = false;
  private failure: Error | null = null;
  private gaveUp: string[] = [];
  private giveUpAt = Number.POSITIVE_INFINITY;

  constructor(
    private readonly options: LoadOptions,
    private readonly clients: readonly LoadClient[],
  ) {
    this.random = new Random(options.seed);
    this.prefix = options.prefix ?? '';
    this.pools = options.pools ?? POOLS;
    this.model = options.model ?? new LoadModel(options.largeThreshold ?? LARGE_THRESHOLD);
  }

  start(): void {
    const { singles = 1_000, batches = 10, probes = PROBES } = this.options;
    const work = (worker: Promise<void>): void => {
      this.workers.push(
        worker.catch((error: Error) => {
          this.failure ??= error;
          this.stopping = true;
        }),
      );
    };
    for (let i = 0; i < singles; i++) work(this.send(i, 1));
    for (let i = 0; i < batches; i++) work(this.send(i, BATCH_MAX));
    for (let i = 0; i < probes; i++) work(this.probe(i));
  }

  async flows(count = 300, waitMs = 60_000): Promise<void> {
    let timer: NodeJS.Timeout | undefined;
    await new Promise<void>((resolve, reject) => {
      const flow: Flow = { from: this.numbered, counts: { credit: 0, debit: 0, large: 0 }, count, resolve };
      this.flowing.push(flow);
      timer = setTimeout(() => {
        this.flowing = this.flowing.filter((other) => other !== flow);
        const answers = JSON.stringify([...this.model.answers]);
        reject(
          this.failure ??
            new Error(
              `stored within ${waitMs / 1_000} s: ${JSON.stringify(flow.counts)}, wanted ${count} each; ${answers}`,
            ),
        );
      }, waitMs);
    });
    clearTimeout(timer);
    if (this.failure) throw this.failure;
  }

  async finish(): Promise<void> {
    this.stopping = true;
    this.giveUpAt = performance.now() + FINISH_MS;
    await Promise.all(this.workers);
    await Promise.all(this.clients.map((client) => client.close()));
    if (this.failure) throw this.failure;
    if (this.gaveUp.length > 0) {
      throw new Error(`not answered within ${FINISH_MS / 1_000} s: ${this.gaveUp.slice(0, 5).join('; ')}`);
    }
  }

  private async send(number: number, most: number): Promise<void> {
    const client = this.clients[number % this.clients.length] as LoadClient;
    while (!this.stopping) {
      const count = most === 1 ? 1 : this.random.int(2, most);
      const transactions = Array.from({ length: count }, () => this.newTransaction());
      // A client that died: what it sent may have taken effect, and nobody asks again.
      const tries = this.random.chance(0.03) ? 1 : Number.POSITIVE_INFINITY;
      await this.untilAnswered(client, transactions, tries);
      if (this.options.restMs) await delay(this.options.restMs);
    }
  }

  private async untilAnswered(client: LoadClient, all: readonly LoadTransaction[], triesMax: number): Promise<void> {
    const from = ++this.numbered;
    const encoding = this.random.chance(0.5) ? 'json' : 'messagepack';
    let open = all;
    for (let tries = 1; open.length > 0; tries++) {
      for (const transaction of open) this.model.tried(transaction);
      this.inFlight += open.length;
      this.inFlightMax = Math.max(this.inFlightMax, this.inFlight);
      const answers = await client.submit(open, encoding);
      this.inFlight -= open.length;
      const again = open.filter((transaction, i) => this.take(transaction, answers[i] as LoadAnswer, from));
      if (again.length === 0 || tries >= triesMax) return;
      if (performance.now() > this.giveUpAt) {
        this.gaveUp.push(...again.map(({ account, id }) => `${account} ${id}`));
        return;
      }
      const waits = answers.map((answer) => (answer.end === 'again' ? answer.waitMs : 0));
      await delay(Math.max(...waits) * (0.5 + Math.random()) * Math.min(tries, 10));
      open = again;
    }
  }

  /** Whether it is to be sent again. */
  private take(transaction: LoadTransaction, answer: LoadAnswer, from: number): boolean {
    switch (answer.end) {
      case 'answered':
        this.model.answered(transaction, answer.status);
        if (answer.status === 'stored') this.flowed(transaction, from);
        return false;
      case 'refused':
        this.model.refused(transaction, answer.code, answer.message);
        return false;
      case 'again':
        this.model.count(answer.code);
        return true;
    }
  }

  private flowed({ amount }: LoadTransaction, from: number): void {
    const pool = this.model.poolOf(amount);
    for (const flow of this.flowing) {
      if (from <= flow.from) continue;
      flow.counts[pool] += 1;
      if (this.pools.some((other) => flow.counts[other] < flow.count)) continue;
      this.flowing = this.flowing.filter((other) => other !== flow);
      flow.resolve();
    }
  }

  private newTransaction(): LoadTransaction {
    const { random } = this;
    const past = this.recent.length > 0 && this.options.duplicates !== false ? random.pick(this.recent) : null;
    if (past && random.chance(0.04)) return past;
    if (past && random.chance(0.005)) return { ...past, amount: this.newAmount() };
    const { hotAccounts = HOT_ACCOUNTS, accounts = ACCOUNTS, nameOf } = this.options;
    const place = random.chance(0.5) ? random.int(0, hotAccounts - 1) : hotAccounts + random.int(0, accounts - 1);
    const account = nameOf?.(place) ?? (place < hotAccounts ? hotAccount(place) : coldAccount(place - hotAccounts));
    const transaction: LoadTransaction = {
      account,
      // The two legs of a transfer may have one id: on different accounts these are different transactions.
      id: past && past.account !== account && random.chance(0.1) ? past.id : this.newId(),
      amount: this.newAmount(),
      ...(random.chance(0.7) && { timestamp: Date.now() * 1_000 + random.int(0, 999) }),
    };
    if (this.recent.length < RECENT_KEPT) this.recent.push(transaction);
    else this.recent[random.int(0, RECENT_KEPT - 1)] = transaction;
    return transaction;
  }

  private newId(): string {
    this.idNumber += 1;
    return `${this.prefix}${this.idNumber}`;
  }
  private idNumber = 0;

  private newAmount(): number {
    const { largeThreshold } = this.model;
    for (;;) {
      const magnitude = this.random.chance(0.2)
        ? largeThreshold + this.random.int(0, 1_000)
        : this.random.int(1, Math.min(1_000, largeThreshold - 1));
      const amount = this.random.chance(0.5) ? magnitude : -magnitude;
      if (this.pools.includes(this.model.poolOf(amount))) return amount;
    }
  }

  /**
   * One account that nobody else sends to: after each answer its balance must be exactly what was acknowledged, whatever
   * is being killed, moved or folded meanwhile.
   */
  private async probe(number: number): Promise<void> {
    const client = this.clients[number % this.clients.length] as LoadClient;
    const account = this.options.nameOf?.(-1 - number) ?? probeAccount(this.prefix, number);
    let sum = this.options.opening ?? 0n;
    for (let i = 0; !this.stopping; i++) {
      const transaction = { account, id: `${this.prefix}p${i}`, amount: this.newAmount() };
      const before = this.gaveUp.length;
      await this.untilAnswered(client, [transaction], Number.POSITIVE_INFINITY);
      if (this.gaveUp.length > before && this.stopping) return;
      sum += BigInt(transaction.amount);
      let balance = await client.balance(account);
      // At the end it must be told, whatever had been killed.
      while (balance === null && this.stopping && performance.now() < this.giveUpAt) {
        await delay(100);
        balance = await client.balance(account);
      }
      if (balance === null) {
        if (this.stopping) this.gaveUp.push(`the balance of ${account}`);
      } else if (balance === sum) this.balancesRead += 1;
      else this.model.violation(transaction, `then the balance was ${balance}, and ${sum} was acknowledged`);
      if (this.options.restMs) await delay(this.options.restMs);
    }
  }
}
