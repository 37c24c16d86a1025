import type { RecordHeader } from '@spill/core';

/** A place in the log where a fold may end: a record, with what lies between it and the mark before. */
export interface RecordMark {
  sequence: number;
  number: number;
  hash: string;
  rows: number;
  bytes: number;
  /** Monotonic milliseconds at which the first of its transactions was acknowledged or read back. */
  since: number;
}

/** The last of some marks, and how many they are. */
export interface TakenMarks {
  readonly mark: RecordMark;
  readonly marks: number;
}

export interface MarksSize {
  readonly rowsMax: number;
  readonly bytesMax: number;
  readonly marksMax: number;
}

/** Small records share a mark, so that a long backlog of single transactions stays small in memory. */
const SHARED_ROWS_MAX = 1_000;
const SHARED_BYTES_MAX = 256 * 1024;

/** The acknowledged records beyond the watermark, oldest first. */
export class RecordMarks {
  private readonly marks: RecordMark[] = [];
  /** Of these many at the front a fold is under way: they must stay as they are. */
  private taken = 0;
  /** The last record of all, which stays when its mark is dropped. */
  private newest: RecordMark | null = null;
  rows = 0;
  bytes = 0;
  records = 0;

  add(
    record: Pick<RecordHeader, 'number'> & { sequence: number; hash: string; rows: number; bytes: number; now: number },
  ): void {
    this.rows += record.rows;
    this.bytes += record.bytes;
    this.records += 1;
    this.newest = {
      sequence: record.sequence,
      number: record.number,
      hash: record.hash,
      rows: 0,
      bytes: 0,
      since: record.now,
    };
    const last = this.marks.at(-1);
    if (
      last &&
      this.marks.length > this.taken &&
      last.rows + record.rows <= SHARED_ROWS_MAX &&
      last.bytes + record.bytes <= SHARED_BYTES_MAX
    ) {
      if (last.rows === 0) last.since = record.now;
      last.sequence = record.sequence;
      last.number = record.number;
      last.hash = record.hash;
      last.rows += record.rows;
      last.bytes += record.bytes;
      return;
    }
    const { sequence, number, hash, rows, bytes, now } = record;
    this.marks.push({ sequence, number, hash, rows, bytes, since: now });
  }

  /** The oldest with a transaction. */
  get oldest(): RecordMark | undefined {
    return this.marks.find(({ rows }) => rows > 0);
  }

  /** The mark at which a fold of about this size ends; at least the first one. undefined: nothing is left. */
  take({ rowsMax, bytesMax, marksMax }: MarksSize): TakenMarks | undefined {
    let rows = 0;
    let bytes = 0;
    let taken = 0;
    for (const mark of this.marks) {
      rows += mark.rows;
      bytes += mark.bytes;
      if (taken > 0 && (rows > rowsMax || bytes > bytesMax || taken === marksMax)) break;
      taken += 1;
    }
    this.taken = taken;
    const mark = this.marks[taken - 1];
    return mark && { mark, marks: taken };
  }

  /**
   * The last record of all, where it is beyond `watermark` though no mark is: the data table was set back, and what was
   * folded before is to be folded again up to there.
   */
  beyond(watermark: number): TakenMarks | undefined {
    return this.newest && this.newest.sequence > watermark ? { mark: this.newest, marks: 1 } : undefined;
  }

  /** The watermark is at `sequence`. */
  dropUpTo(sequence: number): void {
    let count = 0;
    while (count < this.marks.length && (this.marks[count] as RecordMark).sequence <= sequence) {
      const mark = this.marks[count] as RecordMark;
      this.rows -= mark.rows;
      this.bytes -= mark.bytes;
      count += 1;
    }
    this.marks.splice(0, count);
    this.taken = 0;
    if (this.marks.length === 0) this.records = 0;
  }
}
