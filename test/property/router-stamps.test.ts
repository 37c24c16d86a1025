/**
 * A client of routers whose clock is wrong, against routers, a shard and a network that lose requests and answers: it is
 * taken whatever its clock says, and what may be stored under one timestamp is not sent under another.
 */
import {
  decodeSubmitRequest,
  encodeSubmitReply,
  Names,
  SpillError,
  type StampedTransaction,
  type SubmitResult,
} from '@spill/core';
import type { Requester } from '@spill/node';
import fc from 'fast-check';
import { afterEach, describe, expect, it, vi } from 'vitest';
import { submitWithRetries } from '../../packages/node/dist/client/retry.js';
import { RouterSubmitter } from '../../packages/node/dist/client/router-submitter.js';
import { stampInput } from '../../packages/node/dist/client/stamp-input.js';
import { runs } from '../support/property-runs.js';

const MINUTE_US = 60_000_000;
const CLUSTER_NOW = 1_700_000_000_000_000;
const HORIZON = CLUSTER_NOW - 10 * MINUTE_US;
const MAX_PAYLOAD_BYTES = 1024 * 1024;

/** What becomes of one request on its way. */
type Fate = 'answered' | 'request lost' | 'answer lost' | 'no router' | 'unavailable' | 'overloaded' | 'timeout';

/** A cluster behind one subject; `fates` of the requests in order, `answered` after those. */
class Cluster {
  readonly stored = new Map<string, { amount: bigint; timestamp: number }>();
  /** Of each id, every timestamp that it came with, null where it had none, and whether it may be stored since. */
  readonly tries = new Map<string, { timestamp: number | null; doubt: boolean }[]>();
  private requests = 0;

  constructor(private readonly fates: readonly Fate[]) {}

  readonly request: Requester = async (_subject, payload) => {
    const fate = this.fates[this.requests++] ?? 'answered';
    if (fate === 'no router') return { outcome: 'no_responders' };
    const { transactions, encoding } = decodeSubmitRequest(payload, -1, { maxPayloadBytes: MAX_PAYLOAD_BYTES });
    const results = transactions.map(({ account, id, amount, timestamp, stamped }): SubmitResult => {
      const seen = this.tries.get(id) ?? [];
      seen.push({ timestamp: stamped ? null : timestamp, doubt: fate !== 'answered' && fate !== 'overloaded' });
      this.tries.set(id, seen);
      if (fate !== 'answered' && fate !== 'answer lost') {
        const code = fate === 'request lost' ? 'timeout' : fate;
        return {
          id,
          status: 'rejected',
          error: new SpillError(code, fate, code === 'overloaded' ? { retryAfterMs: 1 } : {}),
        };
      }
      return this.store(`${account} ${id}`, id, amount, stamped ? CLUSTER_NOW : timestamp);
    });
    if (fate === 'request lost' || fate === 'answer lost') return { outcome: 'no_answer', detail: fate };
    return { outcome: 'answer', data: encodeSubmitReply(results, false, encoding), error: null };
  };

  private store(key: string, id: string, amount: bigint, timestamp: number): SubmitResult {
    const known = this.stored.get(key);
    if (known) return { id, status: 'duplicate', shard: 1, sequence: 2, timestamp: known.timestamp };
    if (timestamp > CLUSTER_NOW + MINUTE_US) {
      return { id, status: 'rejected', error: new SpillError('invalid_transaction', 'timestamp is ahead') };
    }
    if (timestamp < HORIZON) return { id, status: 'rejected', error: new SpillError('expired', 'timestamp is old') };
    this.stored.set(key, { amount, timestamp });
    return { id, status: 'stored', shard: 1, sequence: 2, timestamp };
  }
}

function submitterTo(cluster: Cluster): RouterSubmitter {
  return new RouterSubmitter({ names: new Names(), request: cluster.request, maxPayloadBytes: MAX_PAYLOAD_BYTES });
}

/** How far the client's clock is ahead of the cluster's, microseconds: right, or wrong by up to a day. */
const ahead = fc.oneof(
  fc.integer({ min: -5 * MINUTE_US, max: MINUTE_US }),
  fc.integer({ min: -1_440 * MINUTE_US, max: 1_440 * MINUTE_US }),
);

const fate = fc.constantFrom<Fate>(
  'answered',
  'request lost',
  'answer lost',
  'no router',
  'unavailable',
  'overloaded',
  'timeout',
);

function withRetries(
  submitter: RouterSubmitter,
  stamped: readonly StampedTransaction[],
  deadlineMs: number,
  tryMsMax: number,
): Promise<SubmitResult[]> {
  return new Promise((resolve) =>
    submitWithRetries(
      stamped,
      deadlineMs,
      tryMsMax,
      (transactions, tryMs, onResults) => submitter.take(transactions, tryMs, onResults),
      resolve,
    ),
  );
}

/** `own`: the user gave the timestamp. */
const inputs = fc.array(fc.boolean(), { minLength: 1, maxLength: 6 });

function submit(cluster: Cluster, own: readonly boolean[], now: number, deadlineMs: number): Promise<SubmitResult[]> {
  const submitter = submitterTo(cluster);
  const stamped = own.map((isOwn, i) => {
    const input = { account: 'alice', id: `${i}`, amount: i + 1, ...(isOwn && { timestamp: now }) };
    return stampInput(input, i, now);
  });
  if (stamped.some((item) => 'status' in item)) throw new Error('an input was refused');
  return withRetries(submitter, stamped as never, deadlineMs, deadlineMs);
}

afterEach(() => {
  vi.useRealTimers();
});

describe('a client of routers with a wrong clock', () => {
  it('gets everything stored that it stamped itself, and no other answer for what its user stamped', async () => {
    await fc.assert(
      fc.asyncProperty(
        ahead,
        inputs,
        fc.array(fc.constantFrom<Fate>('no router', 'overloaded'), { maxLength: 2 }),
        async (offset, own, fates) => {
          const cluster = new Cluster(fates);
          const now = CLUSTER_NOW + offset;
          const results = await submit(cluster, own, now, 5_000);
          const right = now >= HORIZON && now <= CLUSTER_NOW + MINUTE_US;
          results.forEach((result, i) => {
            if (own[i] && !right) {
              expect(result).toMatchObject({ error: { code: offset < 0 ? 'expired' : 'invalid_transaction' } });
            } else expect(result).toMatchObject({ status: 'stored', timestamp: right ? now : CLUSTER_NOW });
          });
        },
      ),
      runs(50),
    );
  });

  it('never sends under another timestamp what may be stored, and keeps the one it has', async () => {
    await fc.assert(
      fc.asyncProperty(ahead, inputs, fc.array(fate, { maxLength: 4 }), async (offset, own, fates) => {
        const cluster = new Cluster(fates);
        const now = CLUSTER_NOW + offset;
        await submit(cluster, own, now, 300);
        for (const [id, tries] of cluster.tries) {
          tries.forEach(({ timestamp }, i) => {
            if (own[Number(id)] || timestamp !== null) expect(timestamp).toBe(now);
            const before = tries[i - 1];
            if (before && before.timestamp !== timestamp)
              expect(tries.slice(0, i).some(({ doubt }) => doubt)).toBe(false);
          });
        }
      }),
      runs(50),
    );
  });

  it('gives up what may be stored under a timestamp that it does not know, before that can be forgotten', async () => {
    vi.useFakeTimers();
    const lost = Array.from({ length: 1_000 }, (): Fate => 'timeout');
    const cluster = new Cluster(['answered', ...lost]);
    const began = performance.now();
    const tries: number[] = [];
    const { request } = cluster;
    const submitter = new RouterSubmitter({
      names: new Names(),
      request: (...args) => {
        tries.push(performance.now() - began);
        return request(...args);
      },
      maxPayloadBytes: MAX_PAYLOAD_BYTES,
    });
    const old = stampInput({ account: 'alice', id: '0', amount: 1 }, 0, HORIZON - 1);
    const answer = withRetries(submitter, [old as never], 60_000, 2_000);
    await vi.advanceTimersByTimeAsync(61_000);
    expect(await answer).toMatchObject([{ status: 'rejected', error: { code: 'timeout', retryable: true } }]);
    expect(
      cluster.tries
        .get('0')
        ?.slice(0, 3)
        .map(({ timestamp }) => timestamp),
    ).toEqual([HORIZON - 1, null, null]);
    expect(Math.max(...tries)).toBeLessThan(11_000);
  });
});
