import type { CountAndSum, FoldTotals, ShardEntry, Witness } from '@spill/core';
import type { LostPart, ScannedLog } from './scan-log.js';

const NOTHING: CountAndSum = { count: 0n, sum: 0n };

/** The scan sees what is missing within the log; the watermark and the witnesses, what is missing before and after. */
export function allLost(
  scanned: ScannedLog | null,
  entry: ShardEntry,
  totals: FoldTotals | null,
  witnesses: readonly Witness[],
): LostPart[] {
  const watermark = totals?.watermark.logId === entry.logId ? totals.watermark : null;
  const folded = watermark && totals ? sumOf(totals) : null;
  const remembered = witnesses.filter((witness) => witness.logId === entry.logId);
  const end = Math.max(scanned?.last ?? 0, watermark?.sequence ?? 0, ...remembered.map(({ sequence }) => sequence));
  const parts = [...(scanned?.lost ?? [])];
  const firstBelieved = scanned?.firstBelieved;
  const foldedTo = watermark?.sequence ?? 0;
  if (firstBelieved && scanned.first > foldedTo + 1) {
    const known = folded && totals?.baseSequence === 0 && firstBelieved.logId === entry.logId;
    parts.unshift({
      from: foldedTo + 1,
      to: scanned.first - 1,
      transactions: known ? minus(firstBelieved.before, folded) : null,
      why: `records ${foldedTo + 1} to ${scanned.first - 1} are gone, and were not folded`,
    });
  }
  const believed = scanned?.lastBelieved;
  const last = believed?.sequence ?? (scanned?.lastBytes ? scanned.first - 1 : 0);
  if (end > last) {
    const countable = folded && watermark?.sequence === end && totals?.baseSequence === 0;
    const before = believed ? { count: BigInt(believed.header.count), sum: believed.header.sum } : NOTHING;
    parts.push({
      from: last + 1,
      to: end,
      transactions: countable ? minus(folded, before) : null,
      why:
        end <= (scanned?.last ?? 0)
          ? `records ${last + 1} to ${end} are missing or cannot be read`
          : `records ${last + 1} to ${end} were acknowledged, and the log ends with record ${last}`,
    });
  }
  return parts;
}

function sumOf({ folded, dropped, conflicts }: FoldTotals): CountAndSum {
  return {
    count: folded.count + dropped.count + conflicts.count,
    sum: folded.sum + dropped.sum + conflicts.sum,
  };
}

function minus(a: CountAndSum, b: CountAndSum): CountAndSum {
  return { count: a.count - b.count, sum: a.sum - b.sum };
}

export function summarize(
  entry: ShardEntry,
  lost: readonly LostPart[],
  totals: FoldTotals | null,
  scanned: ScannedLog | null,
): string {
  const { reason = 'damaged', logId } = entry;
  const foldedTo = totals?.watermark.logId === logId ? totals.watermark.sequence : 0;
  const parts = lost.map(({ to, from, why, transactions }) => {
    const count = transactions
      ? `${transactions.count} transactions of ${transactions.sum} in all`
      : 'nobody knows how many transactions';
    const place =
      to <= foldedTo ? ', folded before' : from > foldedTo ? ', not folded' : `, folded up to record ${foldedTo}`;
    return `${why} (${count}${place})`;
  });
  const what = scanned ? '' : `; the stream was gone, with all that log ${logId} held beyond record ${foldedTo}`;
  return `${reason}${what}${parts.length > 0 ? `. Lost: ${parts.join('; ')}` : ''}`;
}
