import { type LogRecord, RecordFormatError, readRecord, recordHash } from './record.js';

/** A record that may be believed, with the message that it came in. */
export interface VouchedRecord<M> {
  readonly message: M;
  readonly record: LogRecord;
  readonly hash: string;
}

/** A message of the log whose transactions must not be believed, and why: a sentence. */
export interface UnfitRecord {
  readonly sequence: number;
  readonly why: string;
}

/**
 * The records of a log that may be believed, one behind: what cannot be read may not, and neither may a record of which
 * the next one says that it was another, since those bytes are not what was acknowledged.
 *
 * In a sound log that is every record. Only where an operator accepted a loss (`rebased`) do records of both kinds
 * remain, and then replay, fold and `verify` must all pass over the same ones: they all ask here.
 */
export class VouchedRecords<M extends { readonly sequence: number; readonly bytes: Uint8Array }> {
  private held: VouchedRecord<M> | null = null;

  /** The next message in order; returns what is now known of the one before, and of this one where it is unfit. */
  next(message: M): { readonly vouched: VouchedRecord<M> | null; readonly unfit: readonly UnfitRecord[] } {
    const { held } = this;
    const read = tryRead(message);
    if ('why' in read) {
      this.held = null;
      return { vouched: held, unfit: [read] };
    }
    this.held = read;
    if (held && denies(read, held)) {
      const { sequence } = held.message;
      const why = `record ${sequence} was altered: record ${sequence + 1} is chained to another`;
      return { vouched: null, unfit: [{ sequence, why }] };
    }
    return { vouched: held, unfit: [] };
  }

  /** After the last message: the one that was held back. */
  end(): VouchedRecord<M> | null {
    const { held } = this;
    this.held = null;
    return held;
  }
}

function tryRead<M extends { readonly sequence: number; readonly bytes: Uint8Array }>(
  message: M,
): VouchedRecord<M> | UnfitRecord {
  try {
    return { message, record: readRecord(message.bytes), hash: recordHash(message.bytes) };
  } catch (error) {
    if (!(error instanceof RecordFormatError)) throw error;
    return { sequence: message.sequence, why: `record ${message.sequence} cannot be read: ${error.message}` };
  }
}

/** Only the very next record of the same log can deny: after a gap nobody knows what came before it. */
function denies<M extends { readonly sequence: number }>(next: VouchedRecord<M>, before: VouchedRecord<M>): boolean {
  return (
    next.record.events[0]?.type !== 'rebased' &&
    next.message.sequence === before.message.sequence + 1 &&
    next.record.logId === before.record.logId &&
    next.record.number === before.record.number + 1 &&
    next.record.previous !== before.hash
  );
}
