import type { CountAndSum, FoldTotals } from '../ports.js';
import type { Finding, FindingKind } from './findings.js';

export interface TotalsFinding {
  readonly kind: Extract<FindingKind, 'lost' | 'duplicated' | 'mismatched'>;
  readonly count: number;
  readonly finding: Finding;
}

export function addTotals(...parts: readonly CountAndSum[]): CountAndSum {
  return parts.reduce((all, part) => ({ count: all.count + part.count, sum: all.sum + part.sum }), {
    count: 0n,
    sum: 0n,
  });
}

/**
 * Whether the folds of a log account for every transaction between where its watermark began and where it stands, those
 * purged since included: the log's running count and sum against folded + dropped + conflicts.
 */
export function judgeFoldTotals(logged: CountAndSum, totals: FoldTotals): TotalsFinding | null {
  const { shard, logId, sequence } = totals.watermark;
  const accounted = addTotals(totals.folded, totals.dropped, totals.conflicts);
  return judge(logged, accounted, { shard, log_id: logId, sequence }, (difference) => {
    const range = `records ${totals.baseSequence + 1} to ${sequence} of shard ${shard}`;
    return `${range} hold ${said(logged)}, its folds account for ${said(accounted)}: ${difference}`;
  });
}

/**
 * Whether the ledger still holds what the folds of a log put there. `known`: transactions of it that were found missing
 * or too many one by one already.
 */
export function judgeLedgerTotals(
  totals: FoldTotals,
  ledger: CountAndSum,
  known: { readonly missing: number; readonly extra: number; readonly changed: number },
): TotalsFinding | null {
  const { shard, logId } = totals.watermark;
  const { folded } = totals;
  const difference = Number(ledger.count - folded.count);
  if (difference < 0 && -difference <= known.missing) return null;
  if (difference > 0 && difference <= known.extra) return null;
  if (difference === 0 && known.missing + known.extra + known.changed > 0) return null;
  return judge(folded, ledger, { shard, log_id: logId }, (words) => {
    return `the folds of shard ${shard}, log ${logId}, put ${said(folded)} into the ledger, it holds ${said(ledger)}: ${words}`;
  });
}

function judge(
  expected: CountAndSum,
  actual: CountAndSum,
  where: Omit<Finding, 'message'>,
  sentence: (difference: string) => string,
): TotalsFinding | null {
  const difference = actual.count - expected.count;
  if (difference === 0n && actual.sum === expected.sum) return null;
  const amounts = { amount: actual.sum.toString(), expected: expected.sum.toString() };
  if (difference === 0n) {
    const message = sentence('the sums differ');
    return { kind: 'mismatched', count: 1, finding: { message, ...where, ...amounts } };
  }
  const kind = difference < 0n ? 'lost' : 'duplicated';
  const count = Number(difference < 0n ? -difference : difference);
  const message = sentence(difference < 0n ? `${count} are missing` : `${count} are too many`);
  return { kind, count, finding: { message, ...where, ...amounts } };
}

function said({ count, sum }: CountAndSum): string {
  return `${count} transactions of ${sum} in all`;
}
