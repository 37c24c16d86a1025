import { expect, it } from 'vitest';
import { RecordMarks } from '../../packages/node/dist/shard/record-marks.js';

function marksOf(records: readonly { rows: number; now: number; bytes?: number }[]): RecordMarks {
  const marks = new RecordMarks();
  records.forEach(({ rows, now, bytes = 100 }, i) => {
    marks.add({ sequence: i + 1, number: i + 1, hash: '', rows, bytes, now });
  });
  return marks;
}

it('the oldest is the oldest transaction, whatever records without one were written before', () => {
  expect(marksOf([{ rows: 0, now: 1 }]).oldest).toBe(undefined);
  expect(
    marksOf([
      { rows: 0, now: 1 },
      { rows: 0, now: 2 },
      { rows: 5, now: 3 },
      { rows: 5, now: 4 },
    ]).oldest?.since,
  ).toBe(3);
  expect(
    marksOf([
      { rows: 0, now: 1 },
      { rows: 5, now: 3, bytes: 10_000_000 },
    ]).oldest?.since,
  ).toBe(3);
  expect(
    marksOf([
      { rows: 5, now: 1 },
      { rows: 0, now: 2 },
      { rows: 5, now: 3 },
    ]).oldest?.since,
  ).toBe(1);
});
