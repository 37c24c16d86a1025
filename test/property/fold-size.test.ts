import { KnownIds, Pending, type Watermark } from '@spill/core';
import { describe, expect, it } from 'vitest';
import { type FoldSize, FoldSource } from '../../packages/node/dist/fold/fold-source.js';
import { RecordMarks } from '../../packages/node/dist/shard/record-marks.js';
import { addKnown } from '../support/add-known.js';

const KEY = { k0: 1, k1: 2 };
const SIZE: FoldSize = { rowsMax: 2_000, wideRowsMax: 9_000, bytesMax: 1e9, marksMax: 1_000 };
const ROWS_A_RECORD = 500;
const RECORDS = 30;
const BYTES_A_RECORD = 20_000;
const START: Watermark = { shard: 1, logId: '', assignment: 1, sequence: 0, number: 0, hash: '' };

/** What a fold takes of a log in which `accounts` take turns. */
async function taken(accounts: number, size: Partial<FoldSize> = {}): Promise<number> {
  const known = new KnownIds(KEY, () => 0);
  const marks = new RecordMarks();
  for (let record = 1; record <= RECORDS; record++) {
    const rows = Array.from({ length: ROWS_A_RECORD }, (_, i) => {
      const n = record * ROWS_A_RECORD + i;
      return { account: `a${n % accounts}`, id: `${n}`, amount: 1n, timestamp: n };
    });
    addKnown(known, KEY, rows, record);
    marks.add({ sequence: record, number: record, hash: '', rows: rows.length, bytes: BYTES_A_RECORD, now: 0 });
  }
  const pending = new Pending(known);
  pending.rebase(0);
  const source = new FoldSource(known, marks, pending, { read: nothing }, () => 0, 0);
  const range = await source.next(START, { ...SIZE, ...size });
  return range!.rows.length;
}

async function* nothing(): AsyncGenerator<never> {}

describe('how much a fold takes', () => {
  it('is bounded by the rows where accounts come again and again', async () => {
    expect(await taken(1)).toBe(2_000);
    expect(await taken(500)).toBe(2_000);
  });

  it('is more where most transactions have an account of their own', async () => {
    expect(await taken(501)).toBe(9_000);
    expect(await taken(RECORDS * ROWS_A_RECORD)).toBe(9_000);
  });

  it('is bounded by bytes and by marks all the same', async () => {
    expect(await taken(10_000, { bytesMax: 3_000 * (BYTES_A_RECORD / ROWS_A_RECORD) })).toBe(3_000);
    // A mark is of 1,000 rows where records are small.
    expect(await taken(10_000, { marksMax: 3 })).toBe(3_000);
    expect(await taken(1, { bytesMax: 1, rowsMax: 1 })).toBe(1_000);
  });
});
