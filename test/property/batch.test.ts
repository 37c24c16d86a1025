import {
  accountName,
  BATCH_ROWS_MAX,
  BatchBuilder,
  BatchFormatError,
  batchAccount,
  batchAmount,
  batchStamped,
  batchTimestamp,
  isAccountName,
  isCleanText,
  isSameAccount,
  readBatch,
} from '@spill/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { rawBatch } from '../support/batch-rows.js';
import { runs } from '../support/property-runs.js';
import { amount, cleanText, timestamp } from '../support/wire-arbitraries.ts';

interface Row {
  readonly account: string;
  readonly id: string;
  readonly amount: bigint;
  readonly timestamp: number;
  readonly stamped: boolean;
}

const rows: fc.Arbitrary<Row[]> = fc
  .array(cleanText(128), { minLength: 1, maxLength: 4 })
  .chain((accounts) =>
    fc.array(
      fc.record({ account: fc.constantFrom(...accounts), id: cleanText(64), amount, timestamp, stamped: fc.boolean() }),
      { minLength: 0, maxLength: 40 },
    ),
  );

/** A hint of 1 makes the builder grow on its way. */
function build(list: readonly Row[], hint = 1): Uint8Array {
  const builder = new BatchBuilder(hint);
  for (const row of list) builder.add(row.account, row.id, row.amount, row.timestamp, row.stamped);
  const announced = builder.byteLength;
  const bytes = builder.finish();
  expect(bytes.byteLength).toBe(announced);
  return bytes;
}

function read(bytes: Uint8Array, trusted = false): Row[] {
  const batch = readBatch(bytes, trusted);
  let at = batch.idsAt;
  return Array.from({ length: batch.rows }, (_, row) => {
    const to = at + batch.bytes[batch.idLengthsAt + row]!;
    const id = Buffer.from(batch.bytes.subarray(at, to)).toString();
    at = to;
    return {
      account: accountName(batch, batchAccount(batch, row)),
      id,
      amount: batchAmount(batch, row),
      timestamp: batchTimestamp(batch, row),
      stamped: batchStamped(batch, row),
    };
  });
}

/** Whatever readBatch lets pass must be something that a shard may store. */
function expectWellFormed(bytes: Uint8Array): void {
  let list: Row[];
  try {
    list = read(bytes);
  } catch (error) {
    expect(error).toBeInstanceOf(BatchFormatError);
    return;
  }
  for (const row of list) {
    for (const [text, bytesMax] of [
      [row.account, 128],
      [row.id, 64],
    ] as const) {
      const encoded = Buffer.from(text);
      expect(encoded.byteLength).toBeGreaterThanOrEqual(1);
      expect(encoded.byteLength).toBeLessThanOrEqual(bytesMax);
      expect(isCleanText(encoded, 0, encoded.byteLength)).toBe(true);
    }
    expect(row.amount).not.toBe(0n);
    expect(row.amount).not.toBe(-(2n ** 63n));
    expect(Number.isSafeInteger(row.timestamp)).toBe(true);
    expect(row.timestamp).toBeGreaterThanOrEqual(0);
  }
}

describe('a batch', () => {
  it('knows the names of its accounts by their bytes, and which are the same', () => {
    const alike = fc.constantFrom('a', 'b', 'ab', 'é', 'Ã©', 'e\u0301', '\u{1f600}', 'ð\u009f\u0098\u0080', 'aé');
    fc.assert(
      fc.property(fc.array(fc.oneof(alike, cleanText(128)), { minLength: 1, maxLength: 6 }), (names) => {
        const batch = readBatch(rawBatch(names, []));
        names.forEach((name, place) => {
          expect(accountName(batch, place)).toBe(name);
          names.forEach((other, at) => {
            expect(isAccountName(batch, place, other)).toBe(name === other);
            expect(isSameAccount(batch, place, at)).toBe(name === other);
          });
        });
      }),
      runs(200),
    );
  });

  it('comes back as it was built, wherever its bytes lie', () => {
    fc.assert(
      fc.property(rows, fc.nat(9), fc.boolean(), (list, offset, trusted) => {
        const bytes = build(list);
        expect(read(bytes, trusted)).toEqual(list);
        const within = new Uint8Array(bytes.byteLength + offset + 3);
        within.set(bytes, offset);
        expect(read(within.subarray(offset, offset + bytes.byteLength), trusted)).toEqual(list);
      }),
      { numRuns: 300 },
    );
  });

  it('lists each account once, and holds nothing of what its builder held before', () => {
    fc.assert(
      fc.property(rows, rows, fc.boolean(), (before, others, goesOn) => {
        const last = before.at(-1);
        const list = last && goesOn ? [last, ...others] : others;
        const builder = new BatchBuilder(1);
        for (const row of before) builder.add(row.account, row.id, row.amount, row.timestamp, row.stamped);
        builder.finish();
        builder.clear();
        for (const row of list) builder.add(row.account, row.id, row.amount, row.timestamp, row.stamped);
        const bytes = builder.finish();
        expect(bytes).toEqual(build(list));
        expect(readBatch(bytes).accountCount).toBe(new Set(list.map(({ account }) => account)).size);
      }),
      runs(300),
    );
  });

  it('holds 65,535 accounts, each once', () => {
    const builder = new BatchBuilder();
    const name = (row: number): string => `account ${row % 32_768}`;
    for (let row = 0; row < BATCH_ROWS_MAX; row++) builder.add(name(row), 'i', 1n, 1, false);
    const twice = readBatch(builder.finish());
    expect(twice.accountCount).toBe(32_768);
    expect(accountName(twice, batchAccount(twice, 40_000))).toBe(name(40_000));
    // Some of so many have the same hash of 32 bits.
    for (let round = 0; round < 40; round++) {
      builder.clear();
      for (let row = 0; row < BATCH_ROWS_MAX; row++) builder.add(`${round}-${row}`, 'i', 1n, 1, false);
      const all = readBatch(builder.finish());
      expect(all.accountCount).toBe(BATCH_ROWS_MAX);
      for (const row of [0, 1, 65_533, 65_534]) {
        expect(accountName(all, batchAccount(all, row))).toBe(`${round}-${row}`);
      }
    }
  });

  it('holds 65,535 rows and no more', () => {
    const row: Row = { account: 'a', id: 'i', amount: 1n, timestamp: 1, stamped: false };
    const most = build(new Array(BATCH_ROWS_MAX).fill(row), 64);
    expect(readBatch(most).rows).toBe(BATCH_ROWS_MAX);
    const more = build(new Array(BATCH_ROWS_MAX + 1).fill(row), 64);
    expect(() => readBatch(more)).toThrow(BatchFormatError);
  });

  it('with any bytes changed is refused, or still well-formed', () => {
    const change = fc.record({ at: fc.nat(), byte: fc.nat(255) });
    fc.assert(
      fc.property(rows, fc.array(change, { minLength: 1, maxLength: 4 }), (list, changes) => {
        const bytes = build(list);
        for (const { at, byte } of changes) bytes[at % bytes.byteLength] = byte;
        expectWellFormed(bytes);
      }),
      { numRuns: 2_000 },
    );
  });

  it('with each single byte of its header changed to each value is refused, or still well-formed', () => {
    const good = build([
      { account: 'alice', id: 'one', amount: 5n, timestamp: 1_763_970_000_000_000, stamped: true },
      { account: 'böb', id: 'zwei', amount: -5n, timestamp: 0, stamped: false },
    ]);
    for (let at = 0; at < good.byteLength; at++) {
      for (let byte = 0; byte < 256; byte++) {
        const bytes = Uint8Array.from(good);
        bytes[at] = byte;
        expectWellFormed(bytes);
      }
    }
  });

  it('cut anywhere, or with something behind it, is refused', () => {
    fc.assert(
      fc.property(rows, fc.nat(), fc.uint8Array({ minLength: 1, maxLength: 40 }), (list, at, more) => {
        const bytes = build(list);
        expect(() => readBatch(bytes.subarray(0, at % bytes.byteLength))).toThrow(BatchFormatError);
        expect(() => readBatch(Buffer.concat([bytes, more]))).toThrow(BatchFormatError);
      }),
      { numRuns: 500 },
    );
  });

  it('of any bytes at all is refused, or well-formed', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        if (bytes.byteLength > 0) bytes[0] = 1; // Past the first check.
        expectWellFormed(bytes);
      }),
      { numRuns: 2_000 },
    );
  });
});
