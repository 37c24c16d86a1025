/** Whatever of the database, the topology or the shards is silent: router and direct path answer by the deadline. */
import { type DataTable, SpillError, type StampedTransaction, slotOf } from '@spill/core';
import type { ShardRequests, TopologyCache } from '@spill/node';
import fc from 'fast-check';
import { Packr, Unpackr } from 'msgpackr';
import { describe, expect, it } from 'vitest';
import { getTransaction, retrieveTransactions } from '../../packages/node/dist/router/account-reader.js';
import { readBalances } from '../../packages/node/dist/router/balance-reader.js';
import { directPathTo } from '../../packages/node/dist/router/direct-path.js';
import type { ReadOptions } from '../../packages/node/dist/router/reads.js';
import { topologyOf } from '../support/random-topology.js';

const SLACK_MS = 400;
const packr = new Packr({ useRecords: false });
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType: 'number' });

const topology = topologyOf(3, 1_000n);

const never = (): Promise<never> => new Promise(() => {});

const READS: Readonly<Record<string, (deadlineMs: number, options: ReadOptions) => Promise<unknown>>> = {
  balance: (deadlineMs, options) => readBalances(['a', 'b'], deadlineMs, options),
  get: (deadlineMs, options) => getTransaction({ account: 'a', id: 'x' }, deadlineMs, options),
  retrieve: (deadlineMs, options) =>
    retrieveTransactions(
      { account: 'a', limit: 10, after: null, from: null, to: null, state: 'all' },
      deadlineMs,
      options,
    ),
  'retrieve of pending': (deadlineMs, options) =>
    retrieveTransactions(
      { account: 'a', limit: 10, after: null, from: null, to: null, state: 'pending' },
      deadlineMs,
      options,
    ),
};

/** What a read asks, of which the call with the number `hangsAt` is never answered; it may ask less than that. */
function world(hangsAt: number): { options: ReadOptions; hung: () => boolean } {
  let calls = 0;
  const call = <T>(answer: T): Promise<T> => (calls++ === hangsAt ? never() : Promise.resolve(answer));
  const row = { account: 'a', row: 5n, rowProblem: null, setAside: 0n, directIds: [], known: true };
  const dataTable: Pick<DataTable, 'ledger' | 'watermarks' | 'readBalances' | 'retrieve'> = {
    ledger: (keys) => call(keys.map(() => null)),
    watermarks: () => call([]),
    readBalances: (accounts) =>
      call({ accounts: accounts.map((account) => ({ ...row, account })), watermarks: new Map() }),
    retrieve: () => call({ rows: [], watermarks: new Map() }),
  };
  const answerTo = (question: { ask: string; accounts?: string[] }): object => {
    if (question.ask === 'get') return { answer: 'get', transaction: null, completeAbove: 0, epoch: 1 };
    if (question.ask === 'retrieve') {
      const transactions = [{ id: 'x', amount: '5', timestamp: 5, sequence: 4 }];
      return { answer: 'retrieve', transactions, epoch: 1 };
    }
    const accounts = question.accounts ?? [];
    return { answer: 'pending', sums: accounts.map(() => '0'), known: accounts.map(() => false), epoch: 1 };
  };
  const requests: Pick<ShardRequests, 'send'> = {
    send: (_target, _verb, payload) =>
      Promise.resolve({ outcome: 'answer', data: packr.pack(answerTo(unpackr.unpack(payload))), error: null }),
  };
  const cache: Pick<TopologyCache, 'refresh'> = { refresh: () => call(topology) };
  return {
    options: {
      dataTable: dataTable as DataTable,
      requests: requests as ShardRequests,
      topology: cache as TopologyCache,
      slot: slotOf,
    },
    hung: () => calls > hangsAt,
  };
}

describe('a read', () => {
  it.each(Object.entries(READS))('%s is answered by its deadline, whatever is silent', async (_, read) => {
    await fc.assert(
      fc.asyncProperty(fc.nat(6), fc.integer({ min: 1, max: 40 }), async (hangsAt, deadlineMs) => {
        const { options, hung } = world(hangsAt);
        const began = performance.now();
        const outcome = await Promise.race([
          read(deadlineMs, options).catch((error: unknown) => error),
          new Promise((resolve) => setTimeout(resolve, deadlineMs + SLACK_MS, 'late')),
        ]);
        expect(outcome).not.toBe('late');
        if (!hung()) return;
        expect(performance.now() - began).toBeGreaterThanOrEqual(deadlineMs - 2);
        expect(outcome).toBeInstanceOf(SpillError);
        expect(outcome).toMatchObject({ code: 'unavailable', retryable: true });
      }),
      // To shrink a failure takes the slack each time.
      { numRuns: 30, endOnFailure: true },
    );
  });
});

describe('the direct path', () => {
  const now = Date.now() * 1_000;
  const times = { dedupeWindowMicros: 600_000_000, maxClockSkewMicros: 60_000_000 };
  const transaction: StampedTransaction = { account: 'a', id: 'x', amount: 5n, timestamp: now, stamped: false };
  const anyLedger = (): boolean => true;

  it('answers timeout at the deadline, and keeps its place until the database is done', async () => {
    let finish = (): void => {};
    const silent = new Promise<void>((resolve) => {
      finish = resolve;
    });
    const direct = directPathTo({ direct: () => silent.then(() => ({ outcome: 'applied' })), ledger: never }, times);
    const began = performance.now();
    const results = await Promise.all([1, 2, 3, 4].map((i) => direct({ ...transaction, id: `${i}` }, 50, anyLedger)));
    expect(performance.now() - began).toBeLessThan(50 + SLACK_MS);
    for (const result of results) expect(result).toMatchObject({ error: { code: 'timeout', retryable: true } });
    expect(await direct(transaction, 50, anyLedger)).toMatchObject({ error: { code: 'overloaded' } });
    finish();
    await new Promise(setImmediate);
    expect(await direct(transaction, 50, anyLedger)).toMatchObject({ status: 'applied' });
  });
});
