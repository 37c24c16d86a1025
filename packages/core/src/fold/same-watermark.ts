import type { Watermark } from '../ports.js';

/**
 * Whether the row in the data table is the one that a fold starts from: same log, same record. The assignment is no
 * part of it: a predecessor's row is a good row. Sequence 0 also matches a missing row, since then nothing was folded.
 */
export function sameWatermark(row: Watermark | null, from: Watermark): boolean {
  if (row === null) return from.sequence === 0;
  return (
    row.logId === from.logId && row.sequence === from.sequence && row.number === from.number && row.hash === from.hash
  );
}
