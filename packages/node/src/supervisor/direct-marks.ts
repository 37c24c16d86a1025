import {
  type DataTable,
  DataTableUnavailableError,
  type FoldedTo,
  type ShardStatus,
  type Topology,
  TransientDataTableError,
} from '@spill/core';

const EVERY_MS = 30_000;
/** A heartbeat may be this old, and a record may have been acknowledged since. */
const HEARTBEAT_AGE_MICROS = 5_000_000;

export interface DirectMarksOptions {
  readonly table: DataTable;
  readonly topology: () => Promise<Topology>;
  /** The newest of each shard, on whichever node it runs; undefined: not heard of. */
  readonly statusOf: (topology: Topology, shard: number) => Promise<ShardStatus | undefined>;
  readonly dedupeWindowMicros: number;
  readonly maxClockSkewMicros: number;
  readonly onError: (message: string) => void;
}

/**
 * Drops marks of the direct path once no log can hold an unfolded copy of their transactions: every shard has folded
 * what it stored until `dedupe_window` after the direct write, and the retired ones to their end. A shard that says
 * nothing, or has not looked at the data table, keeps every mark; by time alone none ever goes. Returns the function that ends it.
 */
export function keepDirectMarksFew(options: DirectMarksOptions): () => Promise<void> {
  let round: Promise<void> | null = null;
  const timer = setInterval(() => {
    round ??= clear(options)
      .catch((error: Error) => {
        const away = error instanceof DataTableUnavailableError || error instanceof TransientDataTableError;
        if (!away) options.onError(`direct marks could not be cleared: ${error.message}`);
      })
      .finally(() => {
        round = null;
      });
  }, EVERY_MS);
  return async () => {
    clearInterval(timer);
    await round;
  };
}

async function clear(options: DirectMarksOptions): Promise<void> {
  const now = Date.now() * 1000;
  const topology = await options.topology();
  let foldedUntil = now;
  const watermarks: FoldedTo[] = [];
  for (const entry of topology.shards) {
    const { id, logId, closedSequence: sequence = 0 } = entry;
    if (entry.state === 'retired') {
      // Folded to its end; where the database was set back to before it, its copies are pending again.
      if (!entry.logDeleted) watermarks.push({ shard: id, logId, sequence });
      continue;
    }
    const status = await options.statusOf(topology, id);
    if (!status || status.watermark === null || status.state === 'damaged' || status.state === 'opening') return;
    foldedUntil = Math.min(foldedUntil, now - status.foldLagMs * 1000 - HEARTBEAT_AGE_MICROS);
    const watermark = await options.table.watermark(id);
    if (!watermark) return;
    watermarks.push(watermark);
  }
  await options.table.clearDirectMarks(
    foldedUntil - options.dedupeWindowMicros - options.maxClockSkewMicros,
    watermarks,
  );
}
