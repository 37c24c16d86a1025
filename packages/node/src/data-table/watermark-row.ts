import type { Watermark } from '@spill/core';

/** Columns of a watermark as JSON-safe values: int8 below 2^53 as text, log id and hash as hexadecimal. */
export const WATERMARK_COLUMNS = `shard, replace(log_id::text, '-', '') AS log_id, sequence::text AS sequence,
  number::text AS number, replace(hash::text, '-', '') AS hash, assignment::text AS assignment`;

export interface WatermarkRow {
  readonly shard: number;
  readonly log_id: string;
  readonly sequence: string;
  readonly number: string;
  readonly hash: string;
  readonly assignment: string;
}

export function toWatermark(row: WatermarkRow): Watermark {
  return {
    shard: row.shard,
    logId: row.log_id,
    sequence: Number(row.sequence),
    number: Number(row.number),
    hash: row.hash,
    assignment: Number(row.assignment),
  };
}
