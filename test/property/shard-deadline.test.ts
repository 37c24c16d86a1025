import { ReplyCode, readSubmitReply, writeSubmitRequest } from '@spill/core';
import { GroupCommit } from '@spill/node';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { batchOf } from '../support/batch-rows.js';
import { creditState } from '../support/credit-state.js';
import { runs } from '../support/property-runs.js';

const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

function requestOf(id: string, deadlineMs: number): Uint8Array {
  const row = { account: 'ada', id, amount: 5n, timestamp: Date.now() * 1_000, stamped: false };
  return writeSubmitRequest(deadlineMs, batchOf([row]).bytes);
}

/** What is decided already is found by `get`, which waits for it: see answer-questions.test.ts. */
describe('what waits in a shard', () => {
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['performance', 'hrtime', 'setTimeout'] });
  });
  afterEach(() => {
    vi.useRealTimers();
  });

  it('is decided only within its deadline, so that not_found said after it stays true', async () => {
    const waits = fc.record({
      deadlineMs: fc.integer({ min: 2, max: 3_000 }),
      heldMs: fc.integer({ min: 1, max: 3_000 }),
    });
    await fc.assert(
      fc.asyncProperty(waits, async ({ deadlineMs, heldMs }) => {
        fc.pre(deadlineMs !== heldMs);
        const state = creditState();
        const held: (() => void)[] = [];
        const commit = new GroupCommit(
          state,
          1,
          // A record holds one of these requests.
          {
            recordBytesMax: 200,
            waitingBytesMax: 1e6,
            pendingBytesMax: 1e9,
            idsMax: 1e6,
            maxClockSkewMicros: 60_000_000,
          },
          {
            append: () => new Promise((resolve) => held.push(() => resolve({ outcome: 'stored' }))),
            housekeeping: () => [],
            ownedSlots: () => new Uint8Array(4096).fill(1),
            pendingBytes: () => 0,
            onAcknowledged: () => {},
            askLedger: async (keys) => keys.map(() => null),
            onFatal: (reason, detail) => {
              throw new Error(`${reason}: ${detail}`);
            },
            onRefusing: () => {},
          },
        );
        const codes: ReplyCode[] = [];
        const submit = async (id: string, ms: number): Promise<void> => {
          commit.submit(requestOf(id, ms), (reply) => codes.push(readSubmitReply(reply).code));
          await turn();
        };
        await submit('in flight', 60_000);
        await submit('decided for the next record', 60_000);
        await submit('waits for the one after', deadlineMs);
        vi.advanceTimersByTime(heldMs);
        while (held.length > 0) {
          held.shift()?.();
          await turn();
        }
        const inTime = heldMs < deadlineMs;
        expect(codes.toSorted()).toEqual([ReplyCode.ok, ReplyCode.ok, inTime ? ReplyCode.ok : ReplyCode.timeout]);
        expect(state.count).toBe(inTime ? 3 : 2);
      }),
      runs(100),
    );
  });
});
