/** Who is refused because a slot has moved: it follows the topology, by the watch or by reading, until its deadline. */
import { RowStatus, readSubmitRequest, type SubmitResult, shardOf, slotOf, type Topology } from '@spill/core';
import { type ShardRequests, SUBMITTER_DEFAULTS, Submitter, type TopologyCache } from '@spill/node';
import fc from 'fast-check';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { rowsOf } from '../support/fake-shard.ts';
import { runs } from '../support/property-runs.js';
import { topologyOf } from '../support/random-topology.js';
import { answerOf } from '../support/submitter-to.js';

const BEFORE = topologyOf(4, 1_000n);
const SOURCE = BEFORE.owners.credit.find(({ from, to }) => from <= slotOf('a') && slotOf('a') < to)!.shard;
const TARGET = BEFORE.shards.find(({ id, pool }) => pool === 'credit' && id !== SOURCE)!.id;
const AFTER: Topology = {
  ...BEFORE,
  epoch: BEFORE.epoch + 1,
  owners: { ...BEFORE.owners, credit: [{ from: 0, to: 1024, shard: TARGET }] },
};

/** A source that has sealed, and a target that accepts from `acceptsAt` on; both say `moved` until then. */
class Moving {
  readonly asked: number[] = [];
  acceptsAt = Number.POSITIVE_INFINITY;
  written: Topology = BEFORE;
  reads = 0;
  private current = BEFORE;
  private listener: (topology: Topology) => void = () => {};

  readonly submitter = new Submitter({
    requests: { send: (target, _verb, payload) => this.answer(target.shard, payload) } as Pick<
      ShardRequests,
      'send'
    > as ShardRequests,
    topology: this.cache(),
    direct: async () => {
      throw new Error('what was refused as moved never goes to the row');
    },
    settings: { ...SUBMITTER_DEFAULTS, directAfterMs: 0 },
  });

  tell(): void {
    if (this.written === this.current) return;
    this.current = this.written;
    this.listener(this.written);
  }

  private cache(): TopologyCache {
    const moving = this;
    return {
      get current() {
        return moving.current;
      },
      onChange: (listener: (topology: Topology) => void) => {
        moving.listener = listener;
        return () => {};
      },
      refresh: async () => {
        moving.reads += 1;
        moving.tell();
        return moving.current;
      },
    } as unknown as TopologyCache;
  }

  private async answer(shard: number, payload: Uint8Array): ReturnType<ShardRequests['send']> {
    if (!shardOf(BEFORE, shard)) throw new Error(`no shard ${shard}`);
    this.asked.push(shard);
    const rows = rowsOf(readSubmitRequest(payload)!.batch);
    await new Promise((resolve) => setTimeout(resolve, 1));
    const takes = shard === TARGET && performance.now() >= this.acceptsAt;
    const statuses = new Uint8Array(rows.length).fill(takes ? RowStatus.stored : RowStatus.moved);
    return answerOf(statuses);
  }
}

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

const DEADLINE_MS = 2_000;

it('it is stored soon after the move, or told by its deadline; once, and without a storm of requests', async () => {
  const ms = fc.integer({ min: 1, max: 400 });
  await fc.assert(
    fc.asyncProperty(
      fc.option(ms),
      ms,
      fc.option(ms),
      fc.integer({ min: 1, max: 40 }),
      async (write, late, watch, n) => {
        const moving = new Moving();
        const began = performance.now();
        const answers: { result: SubmitResult; afterMs: number }[] = [];
        for (let i = 0; i < n; i++) {
          const transaction = { account: 'a', id: `${i}`, amount: 5n, timestamp: Date.now() * 1_000, stamped: true };
          moving.submitter.take([transaction], DEADLINE_MS, ([result]) =>
            answers.push({ result: result as SubmitResult, afterMs: performance.now() - began }),
          );
        }
        if (write !== null) {
          setTimeout(() => {
            moving.written = AFTER;
          }, write);
          // The target hears of it by itself.
          moving.acceptsAt = began + write + late;
          if (watch !== null) setTimeout(() => moving.tell(), write + watch);
        }
        await vi.advanceTimersByTimeAsync(DEADLINE_MS + 100);
        expect(answers.length).toBe(n);
        expect(new Set(answers.map(({ result }) => result.id)).size).toBe(n);
        for (const { result, afterMs } of answers) {
          if (write === null) {
            expect(result).toMatchObject({ status: 'rejected', error: { code: 'unavailable', retryable: true } });
            expect(afterMs).toBeLessThan(DEADLINE_MS + 10);
          } else {
            expect(result).toMatchObject({ status: 'stored', shard: TARGET });
            // The longest wait between two looks is 200 ms, and 25 before each.
            expect(afterMs).toBeLessThan(write + late + 500);
          }
        }
        expect(moving.asked.length).toBeLessThan(40);
        expect(vi.getTimerCount()).toBeLessThanOrEqual(1);
        await moving.submitter.idle();
      },
    ),
    runs(200),
  );
});

it('it waits for no read where the watch tells of the newer topology', async () => {
  const moving = new Moving();
  const answer = moving.submitter.submit(
    [{ account: 'a', id: 'x', amount: 5n, timestamp: Date.now() * 1_000, stamped: true }],
    DEADLINE_MS,
  );
  await vi.advanceTimersByTimeAsync(10);
  expect(moving.asked).toEqual([SOURCE]);
  moving.written = AFTER;
  moving.acceptsAt = 0;
  moving.tell();
  await vi.advanceTimersByTimeAsync(10);
  expect(await answer).toMatchObject([{ status: 'stored', shard: TARGET }]);
  expect(moving.asked).toEqual([SOURCE, TARGET]);
  expect(moving.reads).toBe(0);
});
