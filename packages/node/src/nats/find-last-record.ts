import type { LogMessage } from './log.js';

/**
 * The last record that the server can still read. A record whose bytes on the disk are wrong is as good as missing, and
 * `last` then finds nothing, though all before it is there. null: nothing at all can be read.
 */
export async function findLastRecord(
  log: { last(): Promise<LogMessage | null>; get(sequence: number): Promise<LogMessage | null> },
  firstSequence: number,
  lastSequence: number,
): Promise<LogMessage | null> {
  const last = await log.last();
  if (last && last.sequence >= lastSequence) return last;
  for (let sequence = lastSequence; sequence >= Math.max(1, firstSequence, last?.sequence ?? 0); sequence--) {
    const message = await log.get(sequence);
    if (message) return message;
  }
  return last;
}
