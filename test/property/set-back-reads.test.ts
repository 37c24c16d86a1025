import type { SpillError, Topology } from '@spill/core';
import { Packr } from 'msgpackr';
import { expect, test } from 'vitest';
import { getTransaction, retrieveTransactions } from '../../packages/node/dist/router/account-reader.js';
import type { ReadOptions } from '../../packages/node/dist/router/reads.js';
import { topologyOf } from '../support/random-topology.js';

const codec = new Packr({ useRecords: false });
const KEY = { account: 'a', id: 'x' };
const PAGE = { account: 'a', state: 'all' as const, limit: 10, after: null, from: null, to: null };

/** Shard 9 gave all that it had away and was drained to record 5; every owner knows nothing of the account. */
function readsAt(watermark: number): ReadOptions {
  const rest = topologyOf(3, 1_000_000n);
  const former = { ...rest.shards[0]!, id: 9, logId: '9'.repeat(32), drainedTo: 5 };
  const topology: Topology = { ...rest, shards: [...rest.shards, former] };
  const row = { shard: 9, logId: former.logId, assignment: 1, sequence: watermark, number: watermark, hash: '' };
  const send = async (_: unknown, __: unknown, body: Uint8Array) => {
    const { ask } = codec.unpack(body) as { ask: string };
    const data = codec.pack({
      answer: ask,
      transaction: null,
      completeAbove: 0,
      transactions: [],
      epoch: topology.epoch,
    });
    return { outcome: 'answer', data };
  };
  return {
    requests: { send },
    topology: { refresh: async () => topology },
    dataTable: {
      ledger: async () => [null],
      watermarks: async () => [row],
      retrieve: async () => ({ rows: [], watermarks: new Map([[9, row]]) }),
    },
    slot: () => 0,
  } as unknown as ReadOptions;
}

const codeOf = (error: unknown): string => (error as SpillError).code;

test('what a former owner folds again is neither not found nor left out of a page', async () => {
  expect(await getTransaction(KEY, 300, readsAt(5)).catch(codeOf)).toBe('not_found');
  expect(['unavailable', 'timeout']).toContain(await getTransaction(KEY, 300, readsAt(4)).catch(codeOf));
  expect(await retrieveTransactions(PAGE, 300, readsAt(5))).toMatchObject({ transactions: [] });
  expect(['unavailable', 'timeout']).toContain(await retrieveTransactions(PAGE, 300, readsAt(4)).catch(codeOf));
});
