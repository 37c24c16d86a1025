import {
  type Adopted,
  accountName,
  BATCH_HEADER_BYTES,
  BatchBuilder,
  BatchFormatError,
  eventBytes,
  type Forgotten,
  isAccepted,
  type LogRecord,
  NO_HASH,
  RECORD_HEADER_BYTES,
  RecordFormatError,
  readBatch,
  readRecord,
  readRecordHeader,
  readSubmitReply,
  readSubmitRequest,
  recordHash,
  type ShardEvent,
  type SmallState,
  type Stored,
  writeRecord,
  writeSubmitReply,
  writeSubmitRequest,
} from '@spill/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { batchOf, type Row, rawBatch, rowsOf } from '../support/batch-rows.js';
import { runs } from '../support/property-runs.js';
import { anyAmount, anyRow, anyTimestamp, cleanText } from '../support/transaction-arbitraries.js';

const rows = fc.array(anyRow, { maxLength: 20 });
const counter = fc.nat(Number.MAX_SAFE_INTEGER);
const spans = fc.array(fc.record({ from: fc.nat(1023), to: fc.nat(1024) }), { maxLength: 3 });
const forgotten: fc.Arbitrary<Forgotten> = fc.record({ below: counter, upTo: counter });

const digest = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => Buffer.from(bytes).toString('hex'));
const certificate = { horizon: counter, count: counter, digest };

const small: fc.Arbitrary<SmallState> = fc.record(
  {
    horizon: counter,
    forgottenBelow: counter,
    foldedUpTo: counter,
    forgottenAlso: fc.array(forgotten, { maxLength: 3 }),
    epoch: counter,
    seals: fc.array(fc.record({ migration: counter, slots: spans, sequence: counter, ...certificate }), {
      maxLength: 3,
    }),
    adoptions: fc.array(fc.record({ migration: counter, slots: spans, ready: fc.option(fc.record(certificate)) }), {
      maxLength: 3,
    }),
    settled: fc.array(counter, { maxLength: 3 }),
    closed: fc.boolean(),
  },
  {
    requiredKeys: ['horizon', 'forgottenBelow', 'foldedUpTo', 'epoch', 'seals', 'adoptions', 'settled', 'closed'],
  },
);

const stored: fc.Arbitrary<Stored> = fc
  .tuple(
    fc.array(anyRow, { minLength: 1, maxLength: 20 }),
    fc.array(fc.boolean(), { minLength: 20, maxLength: 20 }),
    fc.boolean(),
  )
  .map(([rows, accepted, all]) => {
    const batch = batchOf(rows);
    if (all) return { type: 'stored', batch, accepted: null, count: rows.length };
    const bitmap = new Uint8Array((rows.length + 7) >> 3);
    let count = 0;
    rows.forEach((_, i) => {
      if (!accepted[i]) return;
      bitmap[i >> 3] = (bitmap[i >> 3] as number) | (1 << (i & 7));
      count += 1;
    });
    return { type: 'stored', batch, accepted: bitmap, count };
  });

const adopted: fc.Arbitrary<Adopted> = fc
  .tuple(
    fc.array(fc.tuple(anyRow, fc.integer({ min: 1, max: 2 ** 32 - 1 }), counter), { maxLength: 20 }),
    counter,
    spans,
  )
  .map(([rows, migration, slots]) => ({
    type: 'adopted',
    migration,
    slots,
    batch: batchOf(rows.map(([row]) => row)),
    shards: Uint32Array.from(rows, ([, shard]) => shard),
    sequences: Float64Array.from(rows, ([, , sequence]) => sequence),
  }));

const text = fc.string({ unit: 'grapheme', maxLength: 20 });

/** A generator for every type of event: a type without one fails to compile. */
const eventOf: { readonly [Type in ShardEvent['type']]: fc.Arbitrary<Extract<ShardEvent, { type: Type }>> } = {
  created: fc.record({ type: fc.constant('created'), shard: counter, small }),
  opened: fc.record({ type: fc.constant('opened'), assignment: counter }),
  stored,
  forgotten: fc.record({ type: fc.constant('forgotten'), horizon: counter, foldedUpTo: counter }),
  checkpoint: fc.record({ type: fc.constant('checkpoint'), small }),
  epoch: fc.record({ type: fc.constant('epoch'), epoch: counter }),
  sealed: fc.record({ type: fc.constant('sealed'), migration: counter, slots: spans, ...certificate }),
  adopted,
  ready: fc.record({ type: fc.constant('ready'), migration: counter, slots: spans, ...certificate }),
  settled: fc.record({
    type: fc.constant('settled'),
    migration: counter,
    outcome: fc.constantFrom('committed' as const, 'aborted' as const),
  }),
  closed: fc.record({ type: fc.constant('closed') }),
  horizon_set: fc.record({ type: fc.constant('horizon_set'), horizon: counter, who: text, why: text }),
  rebased: fc.record({
    type: fc.constant('rebased'),
    formerLogId: text,
    assignment: counter,
    lost: text,
    who: text,
    why: text,
    small,
  }),
};

const event: fc.Arbitrary<ShardEvent> = fc.oneof(...(Object.values(eventOf) as fc.Arbitrary<ShardEvent>[]));
const hash = fc.uint8Array({ minLength: 16, maxLength: 16 }).map((bytes) => Buffer.from(bytes).toString('hex'));

const record: fc.Arbitrary<LogRecord> = fc.record({
  logId: hash,
  previous: hash,
  assignment: counter,
  number: counter,
  count: counter,
  sum: fc.bigInt({ min: -(2n ** 127n), max: 2n ** 127n - 1n }),
  replayFrom: counter,
  epoch: counter,
  events: fc.array(event, { maxLength: 5 }),
});

/** An event with its batch as plain rows, only the accepted ones. */
function plain(event: ShardEvent): unknown {
  if (event.type === 'adopted') return { ...event, batch: rowsOf(event.batch) };
  if (event.type !== 'stored') return event;
  return {
    type: event.type,
    count: event.count,
    rows: rowsOf(event.batch).map((row, i) => (isAccepted(event, i) ? row : null)),
  };
}

function isFormatError(error: unknown): boolean {
  return error instanceof RecordFormatError || error instanceof BatchFormatError;
}

describe('a batch', () => {
  it('holds exactly the rows that were put in', () => {
    fc.assert(
      fc.property(rows, (rows) => {
        const builder = new BatchBuilder(rows.length >> 1);
        rows.forEach((row, i) => {
          expect(builder.add(row.account, row.id, row.amount, row.timestamp, row.stamped)).toBe(i);
        });
        const bytes = builder.finish();
        expect(bytes.byteLength).toBe(builder.byteLength);
        expect(rowsOf(readBatch(bytes))).toEqual(rows);
        expect(rowsOf(readBatch(bytes, true))).toEqual(rows);
      }),
      runs(300),
    );
  });

  it('is read as its description says, with a dictionary that names an account twice', () => {
    fc.assert(
      fc.property(
        fc.array(cleanText(128), { minLength: 1, maxLength: 5 }),
        fc.array(fc.tuple(anyRow, fc.nat(4)), { maxLength: 20 }),
        (dictionary, picked) => {
          const rows = picked.map(([row, n]) => {
            const place = n % dictionary.length;
            return { ...row, place, account: dictionary[place] as string };
          });
          const read = readBatch(rawBatch(dictionary, rows));
          expect(dictionary.map((_, place) => accountName(read, place))).toEqual(dictionary);
          expect(read.accountCount).toBe(dictionary.length);
          expect(rowsOf(read)).toEqual(rows.map(({ place: _, ...row }) => row));
        },
      ),
      runs(200),
    );
  });

  it('refuses what a transaction must not be', () => {
    const row: Row & { place: number } = { account: 'a', id: 'x', amount: 1n, timestamp: 1, stamped: false, place: 0 };
    const bad: [string[], (Row & { place: number })[]][] = [
      [['a'], [{ ...row, amount: 0n }]],
      [['a'], [{ ...row, amount: -(2n ** 63n) }]],
      [['a'], [{ ...row, timestamp: 2 ** 53 }]],
      [['a'], [{ ...row, id: '' }]],
      [['a'], [{ ...row, id: 'x'.repeat(65) }]],
      [['a'], [{ ...row, id: 'a\u0000' }]],
      [['a'], [{ ...row, id: '\ufffd' }]],
      [['a'], [{ ...row, id: '\u007f' }]],
      [['a'], [{ ...row, place: 1 }]],
      [['a\n'], [row]],
      [[''], [row]],
      [['a'.repeat(129)], [row]],
      [[], [row]],
    ];
    for (const [dictionary, rows] of bad) {
      expect(() => readBatch(rawBatch(dictionary, rows))).toThrow(BatchFormatError);
    }
    const raw = rawBatch(['a'], [{ ...row, id: 'abcd' }]);
    const illFormed = [
      [0x61, 0x62, 0xc0, 0x80], // overlong
      [0x61, 0xe0, 0x80, 0x80], // overlong
      [0xf0, 0x80, 0x80, 0x80], // overlong
      [0xf4, 0x90, 0x80, 0x80], // above U+10FFFF
      [0x61, 0xed, 0xa0, 0x80], // a surrogate
      [0x61, 0xed, 0xbf, 0xbf], // a surrogate
      [0x61, 0xef, 0xbf, 0xbd], // U+FFFD
      [0x61, 0x62, 0x63, 0x80], // a continuation alone
      [0x61, 0x62, 0x63, 0xe2], // cut short
      [0xff, 0x61, 0x62, 0x63],
    ];
    for (const bytes of illFormed) {
      const broken = raw.slice();
      broken.set(bytes, broken.length - 4);
      expect(() => readBatch(broken)).toThrow(BatchFormatError);
    }
  });

  it('answers any damage to its bytes with a BatchFormatError, or still is a batch', () => {
    fc.assert(
      fc.property(rows, fc.nat(), fc.nat(255), fc.nat(), fc.boolean(), (rows, at, byte, cut, trusted) => {
        const bytes = batchOf(rows).bytes.slice();
        bytes[at % bytes.length] = byte;
        for (const damaged of [bytes, bytes.subarray(0, cut % (bytes.length + 1)), Buffer.concat([bytes, bytes])]) {
          try {
            // What is not refused must be readable to the end.
            if (!trusted) rowsOf(readBatch(damaged, trusted));
            else readBatch(damaged, trusted);
          } catch (error) {
            if (!(error instanceof BatchFormatError)) throw error;
          }
        }
      }),
      runs(1_000),
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: BATCH_HEADER_BYTES + 40 }), (bytes) => {
        try {
          readBatch(bytes);
        } catch (error) {
          if (!(error instanceof BatchFormatError)) throw error;
        }
      }),
      runs(500),
    );
  });
});

describe('a record', () => {
  it('comes back as it was written, with every type of event', () => {
    fc.assert(
      fc.property(record, (record) => {
        const bytes = writeRecord(record);
        const sizes = record.events.reduce((sum, event) => sum + eventBytes(event), 0);
        expect(bytes.byteLength).toBe(RECORD_HEADER_BYTES + sizes);
        const read = readRecord(bytes);
        expect({ ...read, events: read.events.map(plain) }).toEqual({ ...record, events: record.events.map(plain) });
        const { events: _, ...header } = record;
        expect(readRecordHeader(bytes)).toEqual(header);
        // Bytes that lie within larger ones, as they come from the network.
        const within = Buffer.concat([Buffer.from('before'), bytes, Buffer.from('after')]);
        const again = readRecord(new Uint8Array(within.buffer, within.byteOffset + 6, bytes.byteLength));
        expect(again.events.map(plain)).toEqual(record.events.map(plain));
        expect(writeRecord(read)).toEqual(bytes);
      }),
      runs(300),
    );
    for (const [type, arbitrary] of Object.entries(eventOf)) {
      fc.assert(
        fc.property(arbitrary as fc.Arbitrary<ShardEvent>, (event) => {
          const header = { logId: NO_HASH, previous: NO_HASH, assignment: 1, number: 1, count: 0, sum: 0n };
          const read = readRecord(writeRecord({ ...header, replayFrom: 1, epoch: 0, events: [event] }));
          expect(read.events[0]?.type).toBe(type);
          expect(read.events.map(plain)).toEqual([plain(event)]);
        }),
        runs(20),
      );
    }
  });

  it('answers every changed, missing or added byte with a format error or another hash, and nothing else', () => {
    fc.assert(
      fc.property(record, fc.nat(), fc.integer({ min: 1, max: 255 }), fc.nat(), (record, at, flip, cut) => {
        const bytes = writeRecord(record);
        const before = recordHash(bytes);
        const flipped = bytes.slice();
        flipped[at % bytes.length] = (flipped[at % bytes.length] as number) ^ flip;
        const shorter = bytes.subarray(0, cut % bytes.length);
        const longer = Buffer.concat([bytes, Buffer.of(flip)]);
        expect(() => readRecord(shorter)).toThrow(RecordFormatError);
        expect(() => readRecord(longer)).toThrow(RecordFormatError);
        for (const damaged of [flipped, shorter, longer]) {
          expect(recordHash(damaged)).not.toBe(before);
          try {
            readRecord(damaged);
            readRecordHeader(damaged);
          } catch (error) {
            if (!isFormatError(error)) throw error;
          }
        }
      }),
      runs(1_000),
    );
  });

  it('lacking any field that the replay computes with is refused', () => {
    const needed: readonly ShardEvent['type'][] = [
      'created',
      'opened',
      'forgotten',
      'checkpoint',
      'epoch',
      'sealed',
      'ready',
      'adopted',
      'settled',
    ];
    const header = { logId: NO_HASH, previous: NO_HASH, assignment: 1, number: 1, count: 0, sum: 0n };
    for (const type of needed) {
      fc.assert(
        fc.property(eventOf[type] as fc.Arbitrary<ShardEvent>, fc.nat(), (event, at) => {
          const columns = ['type', 'shard', 'batch', 'shards', 'sequences'];
          const fields = Object.keys(event).filter((field) => !columns.includes(field));
          const { [fields[at % fields.length] as string]: _, ...rest } = event as unknown as Record<string, unknown>;
          const bytes = writeRecord({ ...header, replayFrom: 1, epoch: 0, events: [rest as unknown as ShardEvent] });
          expect(() => readRecord(bytes)).toThrow(RecordFormatError);
        }),
        runs(20),
      );
    }
  });

  it('of another format is refused by its number', () => {
    const bytes = new Uint8Array(RECORD_HEADER_BYTES);
    bytes[0] = 2;
    expect(() => readRecord(bytes)).toThrow(/format 2 is unknown/);
  });
});

describe('what router and shard say to each other', () => {
  const first = fc.record({
    shard: fc.option(fc.integer({ min: 1, max: 2 ** 32 - 2 })),
    sequence: counter,
    timestamp: anyTimestamp,
    amount: anyAmount,
  });

  it('comes back as it was written', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(7), first), { maxLength: 30 }),
        counter,
        counter,
        counter,
        fc.nat(2 ** 32 - 1),
        (answers, epoch, horizon, sequence, retryAfterMs) => {
          const firsts = new Map(
            answers.flatMap(([status, first], row) =>
              status === 1 || status === 2
                ? [[row, { ...first, sequence: first.shard === null ? null : first.sequence }] as const]
                : [],
            ),
          );
          const statuses = Uint8Array.from(answers.map(([status]) => status));
          const reply = { code: 0, retryAfterMs, epoch, horizon, sequence, statuses, firsts, message: '' };
          expect(readSubmitReply(writeSubmitReply(reply))).toEqual(reply);
        },
      ),
      runs(200),
    );
    fc.assert(
      fc.property(fc.nat(2 ** 31), rows, (remainingMs, rows) => {
        const batch = batchOf(rows).bytes;
        expect(readSubmitRequest(writeSubmitRequest(remainingMs, batch))).toEqual({ remainingMs, batch });
      }),
      runs(100),
    );
  });
});
