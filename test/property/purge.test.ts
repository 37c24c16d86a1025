import {
  DISK_NEARLY_FULL,
  type LogMark,
  mayPurgeBelow,
  PURGE_KEEP_BYTES,
  type PurgeView,
  purgeTarget,
} from '@spill/core';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { JetStreamModel } from '../support/jetstream-model.js';
import { runs } from '../support/property-runs.js';

const MIB = 1024 * 1024;

interface Log {
  readonly first: number;
  /** Bytes and age of each record from `first` on, oldest first. */
  readonly records: readonly { readonly bytes: number; readonly time: number }[];
  readonly view: PurgeView;
}

const log: fc.Arbitrary<Log> = fc
  .record({
    first: fc.constantFrom(1, 2, 3, 50),
    records: fc.array(fc.record({ bytes: fc.nat(30 * MIB), pause: fc.nat(100) }), { maxLength: 25 }),
    /** Not every record has a mark. */
    marked: fc.array(fc.boolean(), { minLength: 25, maxLength: 25 }),
    watermark: fc.oneof({ weight: 9, arbitrary: fc.nat(80) }, { weight: 1, arbitrary: fc.constant(null) }),
    replayFrom: fc.integer({ min: 1, max: 80 }),
    retention: fc.constantFrom(0, 100, 1_000, 1_000_000),
    retentionBytes: fc.constantFrom(0, 64 * MIB, 100 * MIB, 300 * MIB, Number.MAX_SAFE_INTEGER),
    diskUsed: fc.constantFrom(null, 0, 0.5, DISK_NEARLY_FULL - 0.01, DISK_NEARLY_FULL, 1),
    later: fc.integer({ min: -1_000, max: 2_000 }),
  })
  .map(({ first, records: gaps, marked, watermark, replayFrom, retention, retentionBytes, diskUsed, later }) => {
    let time = 1_000;
    let bytes = 0;
    const marks: LogMark[] = [];
    const records = gaps.map((gap, i) => {
      time += gap.pause;
      bytes += gap.bytes;
      if (marked[i]) marks.push({ sequence: first + i, bytes, time });
      return { bytes: gap.bytes, time };
    });
    const view = {
      firstSequence: first,
      lastSequence: first + records.length - 1,
      replayFrom,
      watermark,
      marks,
      now: time + later,
      retentionMicros: retention,
      retentionBytes,
      diskUsed,
    };
    return { first, records, view };
  });

describe('a purge', () => {
  it('takes nothing that recovery, fold, a database set back or the server may still need', () => {
    fc.assert(
      fc.property(log, ({ first, records, view }) => {
        const target = purgeTarget(view);
        if (!target) return;
        const { below } = target;
        expect(mayPurgeBelow(below, view)).toBe(true);
        expect(below).toBeGreaterThanOrEqual(2);
        expect(below).toBeLessThanOrEqual(view.lastSequence);
        expect(below).toBeLessThanOrEqual(view.replayFrom);
        expect(below).toBeLessThanOrEqual(view.watermark as number);
        const kept = records.slice(below - first);
        const keptBytes = kept.reduce((sum, record) => sum + record.bytes, 0);
        expect(keptBytes).toBeGreaterThanOrEqual(PURGE_KEEP_BYTES);
        const diskFull = view.diskUsed !== null && view.diskUsed >= DISK_NEARLY_FULL;
        const young = records.slice(0, below - first).some((record) => view.now - record.time < view.retentionMicros);
        if (young) {
          // Retention yields only to a full disk, or to its bytes, and then only down to these.
          expect(target.yielded).toBe(true);
          if (!diskFull) expect(keptBytes).toBeGreaterThanOrEqual(view.retentionBytes);
        }
        const stream = new JetStreamModel<null>();
        stream.replace(Array.from({ length: view.lastSequence }, () => new Uint8Array()));
        stream.purge(below);
        expect(stream.firstSequence).toBe(below);
        expect(stream.lastSequence).toBe(view.lastSequence);
      }),
      runs(2_000),
    );
  });

  it('takes what nobody needs any more, as far as there are marks', () => {
    fc.assert(
      fc.property(log, ({ view }) => {
        const target = purgeTarget(view);
        const newest = view.marks.at(-1)?.bytes ?? 0;
        const diskFull = view.diskUsed !== null && view.diskUsed >= DISK_NEARLY_FULL;
        for (const mark of view.marks) {
          const old = view.marks
            .filter((other) => other.sequence <= mark.sequence)
            .every((other) => view.now - other.time >= view.retentionMicros);
          const kept = newest - mark.bytes;
          if (kept < PURGE_KEEP_BYTES || !mayPurgeBelow(mark.sequence, view)) continue;
          if (!old && !diskFull && kept < view.retentionBytes) continue;
          expect(target?.below ?? 0).toBeGreaterThanOrEqual(mark.sequence);
        }
      }),
      runs(2_000),
    );
  });

  it('at 0, 1, above the last record or at a watermark of nothing, 0 or 1 is no purge (hazard 3)', () => {
    const at = (watermark: number | null) => ({ firstSequence: 1, lastSequence: 10, replayFrom: 10, watermark });
    for (const sequence of [-1, 0, 1, 11, 12, 1.5, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(mayPurgeBelow(sequence, at(10))).toBe(false);
    }
    for (const sequence of [2, 3, 9, 10]) expect(mayPurgeBelow(sequence, at(10))).toBe(true);
    for (const watermark of [null, 0, 1]) {
      for (let sequence = 0; sequence <= 11; sequence++) expect(mayPurgeBelow(sequence, at(watermark))).toBe(false);
    }
    expect(mayPurgeBelow(2, at(2))).toBe(true);
    expect(mayPurgeBelow(3, at(2))).toBe(false);
    expect(mayPurgeBelow(3, { ...at(10), replayFrom: 2 })).toBe(false);
    // The model of the server does what makes this matter.
    for (const sequence of [0, 1, 11]) {
      const stream = new JetStreamModel<null>();
      stream.replace(Array.from({ length: 10 }, () => new Uint8Array()));
      stream.purge(sequence);
      expect(stream.read()).toEqual([]);
    }
  });

  it('leaves alone what retention keeps, but for too many bytes, and then only what is too many (hazard 36)', () => {
    const marks = Array.from({ length: 200 }, (_, i) => ({ sequence: i + 1, bytes: (i + 1) * MIB, time: i }));
    const view: PurgeView = {
      firstSequence: 1,
      lastSequence: 200,
      replayFrom: 200,
      watermark: 200,
      marks,
      now: 200,
      retentionMicros: 1_000,
      retentionBytes: 500 * MIB,
      diskUsed: null,
    };
    expect(purgeTarget(view)).toBeNull();
    expect(purgeTarget({ ...view, retentionBytes: 150 * MIB })).toEqual({ below: 50, yielded: true });
    expect(purgeTarget({ ...view, diskUsed: DISK_NEARLY_FULL })).toEqual({ below: 136, yielded: true });
    expect(purgeTarget({ ...view, now: 10_000 })).toEqual({ below: 136, yielded: false });
    expect(purgeTarget({ ...view, now: 1_100 })).toEqual({ below: 101, yielded: false });
    expect(purgeTarget({ ...view, now: 10_000, watermark: 1 })).toBeNull();
    expect(purgeTarget({ ...view, now: 10_000, watermark: null })).toBeNull();
    expect(purgeTarget({ ...view, now: 10_000, marks: [] })).toBeNull();
    expect(purgeTarget({ ...view, now: 10_000, marks: marks.slice(0, 64) })).toBeNull();
  });
});
