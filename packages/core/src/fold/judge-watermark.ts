import type { Watermark } from '../ports.js';

/** What a shard knows of its own log when it looks at the watermark in the data table. */
export interface LogView {
  readonly logId: string;
  /** The first and last record that the log holds; both 0 where it is empty. */
  readonly firstSequence: number;
  readonly lastSequence: number;
  /** Number of the first record, and the hash of the record before it (zeros before the very first). */
  readonly firstNumber: number;
  readonly hashBeforeFirst: string;
  /** The record that the watermark names, read from the log; null where the log has none at that sequence. */
  readonly recordAtWatermark: { readonly number: number; readonly hash: string } | null;
  /** This process's own assignment, and the highest that the topology has for this shard. */
  readonly assignment: number;
  readonly topologyAssignment: number;
  /** Where the watermark stood when this process last saw it, or would be if nothing was folded: 0. */
  readonly expectedSequence: number;
}

/**
 * - `equal`: the row is where it was expected: fold from there.
 * - `ahead`: a fold whose answer was lost, or a predecessor's last: fold from there.
 * - `behind`: the database was set back: say `refolding`, and fold again from there.
 * - `damaged`: log and data table do not belong together; `why` says what is missing. Fold nothing.
 * - `superseded`: a higher assignment folds: this process exits.
 */
export type WatermarkVerdict =
  | { readonly verdict: 'equal' | 'ahead' | 'behind' | 'superseded' }
  | { readonly verdict: 'damaged'; readonly why: string };

/**
 * Judges the watermark row against the log. The row's record is found in the log first; only then the assignment
 * counts, since an assignment in a row that belongs to another log says nothing.
 */
export function judgeWatermark(row: Watermark | null, view: LogView): WatermarkVerdict {
  const why = whyDamaged(row, view);
  if (why !== null) return { verdict: 'damaged', why };
  if (row !== null && row.assignment > view.topologyAssignment) {
    return damaged(
      `assignment ${row.assignment} has folded, but the topology's highest is ${view.topologyAssignment}: ` +
        'the topology lost something',
    );
  }
  if (row !== null && row.assignment > view.assignment) return { verdict: 'superseded' };
  const sequence = row?.sequence ?? 0;
  if (sequence === view.expectedSequence) return { verdict: 'equal' };
  return { verdict: sequence > view.expectedSequence ? 'ahead' : 'behind' };
}

function whyDamaged(row: Watermark | null, view: LogView): string | null {
  if (row !== null && row.logId !== view.logId) {
    return (
      `the data table has folded log ${row.logId} of a shard ${row.shard}, this log is ${view.logId}: this is another ` +
      "cluster's database, or another log was put in the place of that one. If this cluster is new on the database of an " +
      `older one that is gone, \`spill repair ${row.shard} --accept-loss\` takes the number over: nothing is lost by it`
    );
  }
  const sequence = row?.sequence ?? 0;
  if (sequence > view.lastSequence) {
    return `the data table has folded up to ${sequence}, the log ends at ${view.lastSequence}`;
  }
  if (view.firstSequence > sequence + 1) {
    return `the data table has folded up to ${sequence}, the log begins at ${view.firstSequence}`;
  }
  if (row === null || sequence === 0) return null;
  // The record itself is purged: the chain of the first kept record stands for it.
  const record =
    view.firstSequence === sequence + 1
      ? { number: view.firstNumber - 1, hash: view.hashBeforeFirst }
      : view.recordAtWatermark;
  if (record === null) return `the log has no record ${sequence}, up to which the data table has folded`;
  if (record.number !== row.number || record.hash !== row.hash) {
    return (
      `record ${sequence} is number ${record.number} with hash ${record.hash} in the log, ` +
      `number ${row.number} with hash ${row.hash} in the data table`
    );
  }
  return null;
}

function damaged(why: string): WatermarkVerdict {
  return { verdict: 'damaged', why };
}
