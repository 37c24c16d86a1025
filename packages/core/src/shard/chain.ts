import type { LogRecord, RecordHeader } from './record.js';
import type { ShardState } from './state.js';

/**
 * Whether a record may follow: same log, next number, chained to the hash of the one before. A gap, another log id or a
 * broken chain is loss.
 *
 * `rebased` begins a new log id after an accepted loss: it is chained to nothing.
 *
 * @returns null, or what is wrong as a sentence.
 */
export function judgeLink(
  before: { logId: string; number: number; hash: string; sequence: number },
  record: LogRecord,
  sequence: number,
): string | null {
  if (record.events[0]?.type === 'rebased') return null;
  if (sequence !== before.sequence + 1) {
    return `records ${before.sequence + 1} to ${sequence - 1} are missing`;
  }
  if (record.logId !== before.logId) {
    return `record ${sequence} belongs to log ${record.logId}, not to ${before.logId}`;
  }
  if (record.number !== before.number + 1) {
    return `record ${sequence} has number ${record.number} where ${before.number + 1} must follow`;
  }
  if (record.previous !== before.hash) return `record ${sequence} is not chained to record ${before.sequence}`;
  return null;
}

/** Someone's memory of the last acknowledged record of a log. */
export interface Witness {
  /** Who remembers: for the sentence that an operator reads. */
  readonly from: string;
  readonly logId: string;
  readonly assignment: number;
  readonly sequence: number;
  readonly number: number;
  readonly hash: string;
}

/**
 * Whether a record is the one that a witness remembers. A log that lost its tail, unseen, and grew again past the
 * witness differs there, so a witness is worth comparing with its own record, not only with the last.
 *
 * @returns null, or what is wrong as a sentence. Also null where they do not speak of the same record.
 */
export function judgeWitness(
  witness: Witness,
  record: { readonly logId: string; readonly sequence: number; readonly hash: string },
): string | null {
  if (witness.logId !== record.logId || witness.sequence !== record.sequence || witness.hash === record.hash)
    return null;
  return `record ${record.sequence} is not the one that ${witness.from} remembers (${record.hash}, not ${witness.hash})`;
}

export type OpeningVerdict =
  /** Append `opened` expecting exactly the last sequence. */
  | { readonly verdict: 'append' }
  /** `closed`: fold what is left, append nothing. */
  | { readonly verdict: 'fold_only' }
  /** A successor is at work, and the topology says so: exit. */
  | { readonly verdict: 'superseded'; readonly assignment: number }
  /** A witness is ahead of the log. A lagging replica may catch up: read again; after 30 s it is loss. */
  | { readonly verdict: 'behind'; readonly missing: string }
  | { readonly verdict: 'damaged'; readonly missing: string };

/**
 * Steps 3 to 5 of opening: what to do with the log as it was read, before anything is appended. The witnesses must have
 * been read before the record was, the topology after it: a successor may have begun in between.
 */
export function judgeOpening(opening: {
  readonly logId: string;
  readonly assignment: number;
  readonly topologyAssignment: number;
  readonly last: (RecordHeader & { sequence: number; hash: string; closed: boolean }) | null;
  readonly witnesses: readonly Witness[];
}): OpeningVerdict {
  const { last, assignment, logId } = opening;
  // Whatever the log looks like, a process that has a successor says nothing about it.
  if (opening.topologyAssignment > assignment) {
    return { verdict: 'superseded', assignment: opening.topologyAssignment };
  }
  if (!last) return { verdict: 'damaged', missing: 'the log is empty, though it was created with a first record' };
  if (last.logId !== logId) {
    return {
      verdict: 'damaged',
      missing: `the log's last record ${last.sequence} belongs to log ${last.logId}; the topology names ${logId}`,
    };
  }
  // Witnesses of an earlier log id say nothing any more: an operator accepted that loss.
  for (const witness of opening.witnesses.filter((witness) => witness.logId === logId)) {
    if (witness.sequence > last.sequence) {
      return {
        verdict: 'behind',
        missing:
          `the log ends with record ${last.sequence}, but ${witness.from} remembers record ${witness.sequence}: ` +
          `${witness.sequence - last.sequence} acknowledged records are missing`,
      };
    }
    const missing = judgeWitness(witness, last);
    if (missing) return { verdict: 'damaged', missing };
  }
  if (last.closed) return { verdict: 'fold_only' };
  if (last.assignment >= assignment) {
    return {
      verdict: 'damaged',
      missing:
        `the log was written under assignment ${last.assignment}, but the topology gave only ${assignment}: ` +
        'the topology is older than the log',
    };
  }
  return { verdict: 'append' };
}

/** Where the state stands, for `judgeLink`. */
export function linkOf(state: ShardState): { logId: string; number: number; hash: string; sequence: number } {
  return { logId: state.logId, number: state.number, hash: state.hash, sequence: state.sequence };
}
