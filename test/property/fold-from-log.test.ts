import {
  endRecord,
  evolve,
  NO_HASH,
  NO_SMALL_STATE,
  Pending,
  recordHash,
  type ShardEvent,
  type ShardState,
  sealRecord,
  type Watermark,
} from '@spill/core';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { FoldSource, LogBrokenError } from '../../packages/node/dist/fold/fold-source.js';
import { RecordMarks } from '../../packages/node/dist/shard/record-marks.js';
import { batchOf } from '../support/batch-rows.js';
import { creditState } from '../support/credit-state.js';
import { runs } from '../support/property-runs.js';

interface Message {
  readonly sequence: number;
  readonly time: number;
  readonly bytes: Uint8Array;
}

const LOG_ID = 'ab'.repeat(16);

/** A log of `records`, each with one transaction of 100, whose shard has forgotten all of them. */
function logOf(records: number): { state: ShardState; messages: Message[] } {
  const state = creditState(1_000_000n);
  state.logId = LOG_ID;
  const messages = Array.from({ length: records }, (_, i): Message => {
    const sequence = i + 1;
    const batch = batchOf([{ account: 'a', id: `id-${sequence}`, amount: 100n, timestamp: sequence, stamped: false }]);
    const event: ShardEvent =
      sequence === 1
        ? { type: 'created', shard: 1, small: NO_SMALL_STATE }
        : { type: 'stored', batch, accepted: null, count: 1 };
    evolve(state, event, sequence);
    const bytes = sealRecord(state, [event], 1);
    endRecord(state, { sequence, number: sequence, hash: recordHash(bytes) });
    return { sequence, time: 0, bytes };
  });
  return { state, messages };
}

function markOf(messages: readonly Message[], sequence: number): Watermark {
  const message = messages[sequence - 1];
  const hash = message ? recordHash(message.bytes) : NO_HASH;
  return { shard: 1, logId: LOG_ID, assignment: 1, sequence, number: sequence, hash };
}

/** Folds from the log until its end; returns the ids in order. */
async function foldAll(
  state: ShardState,
  messages: readonly Message[],
  from: Watermark,
  to: number,
  rowsMax: number,
): Promise<string[]> {
  const log = {
    async *read(first: number, last: number) {
      for (const message of messages) if (message.sequence >= first && message.sequence <= last) yield message;
    },
  };
  const source = new FoldSource(state.known, new RecordMarks(), new Pending(state.known), log as never, () => to, 0);
  const ids: string[] = [];
  for (let at = from; at.sequence < to; ) {
    const range = await source.next(at, { rowsMax, wideRowsMax: rowsMax, bytesMax: 1e9, marksMax: 1_000 });
    ids.push(...(range?.rows.ids ?? []));
    at = { ...at, ...range!.to };
  }
  return ids;
}

const shape = fc
  .record({ records: fc.integer({ min: 3, max: 30 }), back: fc.nat(28), rowsMax: fc.integer({ min: 1, max: 10 }) })
  .map(({ records, back, rowsMax }) => ({ records, from: Math.min(back, records - 2), rowsMax }));

describe('a data table that was set back is folded again from the log', () => {
  test('every transaction once, whatever a fold takes at a time', async () => {
    await fc.assert(
      fc.asyncProperty(shape, async ({ records, from, rowsMax }) => {
        const { state, messages } = logOf(records);
        const ids = await foldAll(state, messages, markOf(messages, from), records, rowsMax);
        const expected = messages.map(({ sequence }) => `id-${sequence}`).slice(Math.max(1, from));
        expect(ids).toEqual(expected);
      }),
      runs(50),
    );
  });

  test('and nothing is passed over that is gone, unreadable or another', async () => {
    const harm = fc.constantFrom('gone', 'cut', 'altered', 'another watermark');
    await fc.assert(
      fc.asyncProperty(shape, harm, fc.nat(28), async ({ records, from, rowsMax }, kind, at) => {
        const { state, messages } = logOf(records);
        const mark = markOf(messages, from);
        // The last record has none after it that would say that it is another.
        const place = from + (at % (records - from - 1));
        const { sequence, bytes, time } = messages[place] as Message;
        const altered = Uint8Array.from(bytes);
        altered[altered.length - 1] = (altered.at(-1) as number) ^ 1;
        if (kind === 'gone') messages.splice(place, 1);
        else if (kind === 'cut') messages[place] = { sequence, time, bytes: bytes.slice(0, -1) };
        else if (kind === 'altered') messages[place] = { sequence, time, bytes: altered };
        const began = kind === 'another watermark' ? { ...mark, hash: 'f'.repeat(32) } : mark;
        await expect(foldAll(state, messages, began, records, rowsMax)).rejects.toThrow(LogBrokenError);
      }),
      runs(100),
    );
  });
});
