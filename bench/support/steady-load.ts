import type { SpillClient } from '@spill/node/client';

/** Accounts that get a fixed share of a steady load. */
export interface LoadGroup {
  readonly name: string;
  readonly accounts: readonly string[];
  /** Transactions a second. */
  readonly rate: number;
  readonly amount: bigint;
}

interface Request {
  readonly group: string;
  readonly count: number;
  /** Both on the monotonic clock; `answered` is Infinity as long as it is not. */
  readonly sent: number;
  answered: number;
}

export interface Span {
  readonly from: number;
  readonly to: number;
}

const TICK_MS = 5;
/** Behind by more than this, what was missed is not made up for: the sender itself was held up. */
const BEHIND_MS_MAX = 100;

/**
 * Sends at a fixed rate whether answers come or not, one request a group every 5 ms, so that a pause shows as the
 * latency of those who were sent into it, and remembers of each account what was acknowledged.
 */
export class SteadyLoad {
  readonly acknowledged = new Map<string, bigint>();
  private readonly requests: Request[] = [];
  private readonly open = new Set<Promise<void>>();
  private timer: NodeJS.Timeout | undefined;
  private failure: Error | null = null;
  private nextId = 0;

  constructor(
    private readonly spill: SpillClient,
    private readonly groups: readonly LoadGroup[],
    private readonly prefix: string,
  ) {}

  start(): void {
    const due = this.groups.map(() => performance.now());
    this.timer = setInterval(() => {
      const now = performance.now();
      this.groups.forEach((group, i) => {
        due[i] = Math.max(due[i] as number, now - BEHIND_MS_MAX);
        const count = Math.floor(((now - (due[i] as number)) * group.rate) / 1_000);
        if (count === 0) return;
        due[i] = (due[i] as number) + (count * 1_000) / group.rate;
        this.send(group, count);
      });
    }, TICK_MS);
  }

  /** Resolves when everything sent is answered. @throws Error where something was not stored. */
  async stop(): Promise<void> {
    clearInterval(this.timer);
    await Promise.all(this.open);
    if (this.failure) throw this.failure;
  }

  /** Acknowledged transactions a second over spans of time. */
  rate(spans: readonly Span[]): number {
    let count = 0;
    let ms = 0;
    for (const { from, to } of spans) {
      ms += to - from;
      for (const request of this.requests)
        if (request.answered >= from && request.answered < to) count += request.count;
    }
    return (count * 1_000) / ms;
  }

  /** Latencies, ascending, of a group's requests that were open at some moment of a span. */
  latencies(group: string, { from, to }: Span): number[] {
    return this.requests
      .filter((request) => request.group === group && request.sent <= to && request.answered >= from)
      .map(({ sent, answered }) => answered - sent)
      .sort((a, b) => a - b);
  }

  private send(group: LoadGroup, count: number): void {
    const { accounts, amount } = group;
    const transactions = Array.from({ length: count }, () => {
      const id = this.nextId++;
      return { id: `${this.prefix}${id}`, account: accounts[id % accounts.length] as string, amount };
    });
    const request: Request = { group: group.name, count, sent: performance.now(), answered: Number.POSITIVE_INFINITY };
    this.requests.push(request);
    const answered = this.spill
      .submit(transactions)
      .then((results) => {
        request.answered = performance.now();
        results.forEach((result, i) => {
          if (result.status === 'rejected') throw result.error;
          const { account } = transactions[i] as (typeof transactions)[number];
          this.acknowledged.set(account, (this.acknowledged.get(account) ?? 0n) + amount);
        });
      })
      .catch((error: Error) => {
        this.failure ??= error;
      })
      .finally(() => this.open.delete(answered));
    this.open.add(answered);
  }
}
