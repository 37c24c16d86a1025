/** Never purge inside the newest part of a log: the server rewrites the boundary block in place (JetStream before 2.11.12). */
export const PURGE_KEEP_BYTES = 64 * 1024 * 1024;

/** The log at some moment: up to `sequence` it held `bytes` bytes in all, at `time` (microseconds). Ascending. */
export interface LogMark {
  readonly sequence: number;
  readonly bytes: number;
  readonly time: number;
}

export interface PurgeView {
  readonly firstSequence: number;
  readonly lastSequence: number;
  readonly replayFrom: number;
  /** null: not known, then nothing is purged. */
  readonly watermark: number | null;
  readonly marks: readonly LogMark[];
  readonly now: number;
  readonly retentionMicros: number;
  readonly retentionBytes: number;
  /** Fraction of the disk in use where the log lies, if known. */
  readonly diskUsed: number | null;
}

/** At this fraction of a full disk, retention yields, with a warning. */
export const DISK_NEARLY_FULL = 0.95;

/**
 * The sequence below which a log may be purged, or null for nothing: never above what recovery or the fold needs, never
 * within the newest 64 MB, never the last record, never within the retention, which yields to its bytes and to the disk.
 */
export function purgeTarget(view: PurgeView): { below: number; yielded: boolean } | null {
  if (view.watermark === null || view.marks.length === 0) return null;
  const needed = Math.min(view.replayFrom, view.watermark, view.lastSequence);
  const newest = view.marks[view.marks.length - 1] as LogMark;
  const diskFull = view.diskUsed !== null && view.diskUsed >= DISK_NEARLY_FULL;
  let below = 0;
  let yielded = false;
  for (const mark of view.marks) {
    const kept = newest.bytes - mark.bytes;
    if (kept < PURGE_KEEP_BYTES || mark.sequence > needed) break;
    if (view.now - mark.time < view.retentionMicros) {
      // Only as much as there is too much: the rest of the retention still serves a database that is set back.
      if (!diskFull && kept < view.retentionBytes) break;
      yielded = true;
    }
    below = mark.sequence;
  }
  return mayPurgeBelow(below, view) ? { below, yielded } : null;
}

/**
 * The last check before a purge. JetStream empties the whole stream at 0 and 1, and jumps ahead above its last
 * sequence.
 */
export function mayPurgeBelow(
  sequence: number,
  log: { firstSequence: number; lastSequence: number; replayFrom: number; watermark: number | null },
): boolean {
  return (
    Number.isSafeInteger(sequence) &&
    sequence >= 2 &&
    sequence <= log.lastSequence &&
    sequence > log.firstSequence &&
    log.watermark !== null &&
    sequence <= Math.min(log.replayFrom, log.watermark)
  );
}
