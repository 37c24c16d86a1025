import type { TransactionInput } from '@spill/node/client';
import { NatsError } from 'nats';
import { bodyOf, RawClient, type RawResult, resultsOf } from '../../test/support/raw-client.js';
import type { Run, Scenario, ScenarioResult } from '../scenario.js';
import { type Bed, withBed } from '../support/bed.js';
import { closedLoop } from '../support/closed-loop.js';
import { keepUp } from '../support/keep-up.js';
import { openLoop } from '../support/open-loop.js';
import { HOT } from '../support/transactions.js';
import { type Watched, watchChild } from '../support/watch-child.js';

/** As spill's own, for clients that say nothing. */
const DEADLINE_MS_DEFAULT = 5_000;
const PENDING_BYTES_MAX = '8 MiB';
const BATCH = 1_000;
const IN_FLIGHT = 16;
const BEST_SECONDS = 15;
/** So long until the backlog is full, so long it is kept full. */
const FILL_SECONDS = 10;
const OVERLOAD_SECONDS = 20;
/** All that is in doubt may have to be folded first. */
const SETTLE_MS = 120_000;

/** Twice what can be folded comes in, from clients that do not slow down: what is stored, and what becomes of the rest. */
export const overload: Scenario = {
  name: 'overload',
  seconds: 75,
  run: (run) =>
    withBed({ args: ['--pending-bytes-max', PENDING_BYTES_MAX] }, async (bed) => {
      const client = await RawClient.open(bed.node.natsUrl, DEADLINE_MS_DEFAULT);
      try {
        return await on(new Sender(bed, client), bed, run);
      } finally {
        await client.close();
      }
    }),
};

async function on(sender: Sender, bed: Bed, run: Run): Promise<ScenarioResult> {
  run.says('the best that fits');
  const best = await keepUp(bed, {
    seconds: BEST_SECONDS,
    warmUpSeconds: 4,
    inFlight: IN_FLIGHT,
    send: async () => {
      await sender.send();
    },
  });
  const offered = 2 * best.perSecond;
  run.says(`${number(offered)}/s are offered`);
  const watched = ['shard-1', 'router'].map((name) => watchChild(bed.node, name));
  const counts = { stored: 0, overloaded: 0, otherwise: 0 };
  const started = performance.now();
  const { latencies, lateMsMax } = await openLoop({
    perSecond: offered / BATCH,
    seconds: OVERLOAD_SECONDS,
    warmUpSeconds: FILL_SECONDS,
    groupMax: 1,
    send: async () => {
      const answers = await sender.send();
      const seconds = (performance.now() - started) / 1_000 - FILL_SECONDS;
      if (seconds >= 0 && seconds < OVERLOAD_SECONDS) {
        for (const kind of ['stored', 'overloaded', 'otherwise'] as const) counts[kind] += answers[kind];
      }
      return answers.stored > 0;
    },
  });
  const [shard, router] = (await Promise.all(watched.map((child) => child.stop()))) as [Watched, Watched];
  run.says('sending again what is in doubt');
  await sender.settleDoubts();
  run.says('comparing rows, ledger and log');
  const storedPerSecond = counts.stored / OVERLOAD_SECONDS;
  const share = (count: number): string =>
    `${((count / (counts.stored + counts.overloaded + counts.otherwise)) * 100).toFixed(0)} %`;
  const child = (name: string, { mibMax, replaced }: Watched): string =>
    `${name} at most ${mibMax} MiB${replaced > 0 ? `, replaced ${replaced} times` : ''}`;
  return {
    figures: [
      {
        id: 'overload',
        value: (storedPerSecond / best.perSecond) * 100,
        perSecond: storedPerSecond,
        detail: [
          `best ${number(best.perSecond)}/s through the router; of what was answered at twice that ${share(counts.stored)} was stored, ${share(counts.overloaded)} told overloaded`,
          `${share(counts.otherwise)} not told in time${sender.told(counts.otherwise)}`,
          `what was stored took p50 ${latencies.at(50).toFixed(0)} ms, p99 ${latencies.at(99).toFixed(0)} ms (the generator was late by ${lateMsMax.toFixed(0)} ms at most)`,
          child('shard', shard),
          child('router', router),
        ].join('; '),
      },
    ],
    sizes: { pending_bytes_max: PENDING_BYTES_MAX, seconds: OVERLOAD_SECONDS, batch: BATCH },
    checked: [await bed.check()],
  };
}

interface Answers {
  readonly stored: number;
  /** With a time to wait. */
  readonly overloaded: number;
  /** It is not known what became of them. */
  readonly otherwise: number;
}

/**
 * Batches that cost next to nothing to make, so that twice the load is a load on spill and not on its generator: copies of
 * one body, in which only the digits before the place in the batch are written anew.
 */
class Batches {
  private readonly body = bodyOf(this.transactions(0), 'messagepack');
  private readonly digitsAt = this.transactions(0).map(({ id = '' }) => Buffer.from(this.body).indexOf(id) + 1);

  transactions(batch: number): TransactionInput[] {
    const digits = digitsOf(batch);
    return Array.from({ length: BATCH }, (_, place) => ({
      id: `o${digits}${String(place).padStart(PLACE_DIGITS, '0')}`,
      account: HOT,
      amount: 1 + (place % 9),
    }));
  }

  bodyOf(batch: number): Uint8Array {
    const body = new Uint8Array(this.body);
    const digits = Buffer.from(digitsOf(batch));
    for (const at of this.digitsAt) for (let i = 0; i < BATCH_DIGITS; i++) body[at + i] = digits[i] as number;
    return body;
  }
}

const BATCH_DIGITS = 6;
const PLACE_DIGITS = 3;

function digitsOf(batch: number): string {
  return String(batch).padStart(BATCH_DIGITS, '0');
}

/** Sends batches once and keeps account of the answers. */
class Sender {
  private readonly batches = new Batches();
  private sent = 0;
  private readonly doubtful: TransactionInput[] = [];
  private readonly why = new Map<string, number>();

  constructor(
    private readonly bed: Bed,
    private readonly client: RawClient,
  ) {}

  async send(): Promise<Answers> {
    const number = this.sent++;
    const results = await this.resultsOf(number);
    if (results === 'overloaded') return { stored: 0, overloaded: BATCH, otherwise: 0 };
    const batch = this.batches.transactions(number);
    const stored = batch.filter((_, i) => results[i]?.status === 'stored');
    const doubtful = batch.filter((_, i) => results[i] === undefined || !isTold(results[i]));
    this.bed.acknowledged.add(stored);
    this.doubtful.push(...doubtful);
    return { stored: stored.length, overloaded: BATCH - stored.length - doubtful.length, otherwise: doubtful.length };
  }

  /** As a client does that has no answer: with the same ids, until there is one. */
  async settleDoubts(): Promise<void> {
    const { bed, doubtful } = this;
    const batches = Array.from({ length: Math.ceil(doubtful.length / BATCH) }, (_, i) =>
      doubtful.slice(i * BATCH, (i + 1) * BATCH),
    );
    await closedLoop(batches, BATCH, IN_FLIGHT, async (batch) => {
      const results = await bed.spill.submit(batch, { deadlineMs: SETTLE_MS });
      const rejected = results.find(({ status }) => status === 'rejected');
      if (rejected) throw new Error(`not stored: ${JSON.stringify(rejected)}`);
      bed.acknowledged.add(batch);
    });
  }

  told(count: number): string {
    return count === 0 ? '' : ` (${[...this.why].map(([code, times]) => `${code}: ${number(times)}`).join(', ')})`;
  }

  private async resultsOf(number: number): Promise<RawResult[] | 'overloaded'> {
    try {
      const reply = await this.client.send(this.batches.bodyOf(number));
      const results = resultsOf(reply, 'messagepack', ONE);
      if (results.length === 1) return 'overloaded';
      for (const result of results) if (!isTold(result)) this.doubt(result.error?.code ?? result.status);
      return results;
    } catch (error) {
      if (!(error instanceof NatsError)) throw error;
      this.doubt(`NATS ${error.code}`, BATCH);
      return [];
    }
  }

  private doubt(code: string, count = 1): void {
    this.why.set(code, (this.why.get(code) ?? 0) + count);
  }
}

/** A batch that is overloaded as a whole says so once. */
const ONE: readonly TransactionInput[] = [{ account: HOT, amount: 1 }];

function isTold({ status, error }: RawResult): boolean {
  return status === 'stored' || (error?.code === 'overloaded' && (error.retry_after_ms ?? 0) > 0);
}

const number = (value: number): string => Math.round(value).toLocaleString('en-US');
