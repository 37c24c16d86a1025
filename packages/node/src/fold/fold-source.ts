/**
 * What a shard still has to fold, beyond a watermark: from the known ids, which hold every transaction that is not
 * forgotten; and from the log itself where the data table was set back to before what is forgotten.
 */
import { setImmediate } from 'node:timers/promises';
import {
  type AcceptedRow,
  acceptedRows,
  type FoldRows,
  judgeLink,
  type KnownIds,
  LogWalk,
  type Pending,
  type WalkedRecord,
  type Watermark,
} from '@spill/core';
import { inTurns } from '../data-table/in-turns.js';
import type { JetStreamLog, LogMessage } from '../nats/log.js';
import type { RecordMarks, TakenMarks } from '../shard/record-marks.js';

export interface FoldRange {
  /** How many places of the log at which a fold may end it spans: what is halved when it meets another transaction. */
  readonly marks: number;
  readonly to: { readonly sequence: number; readonly number: number; readonly hash: string };
  readonly rows: FoldRows;
}

/** How much of the log a fold takes. */
export interface FoldSize {
  /** Transactions, about. */
  readonly rowsMax: number;
  /**
   * The same where most of them have an account of their own: the more a fold takes then, the more of them share a row of
   * the data table, or a page of the ledger's indexes.
   */
  readonly wideRowsMax: number;
  /** Of the records. */
  readonly bytesMax: number;
  readonly marksMax: number;
}

const ROWS_AT_ONCE = 4_096;
const WIDE_FROM_ROWS_AN_ACCOUNT = 4;

interface FoldColumns {
  accounts: string[];
  ids: string[];
  amounts: bigint[];
  timestamps: number[];
  sequences: number[];
  indexes: number[];
}

/** A record that is to be folded again is not in the log, or not as it was written. */
export class LogBrokenError extends Error {
  override readonly name = 'LogBrokenError';
}

export class FoldSource {
  constructor(
    private readonly known: KnownIds,
    private readonly marks: RecordMarks,
    private readonly pending: Pending,
    private readonly log: Pick<JetStreamLog, 'read'>,
    /** Transactions in records up to here may be forgotten. */
    private readonly foldedUpTo: () => number,
    /** The record in which an operator last accepted a loss; 0: none that matters any more. */
    private readonly rebasedAt: number,
  ) {}

  /**
   * The next range beyond the watermark; null: nothing is left.
   *
   * @throws LogBrokenError
   */
  async next(at: Watermark, size: FoldSize): Promise<FoldRange | null> {
    const watermark = at.sequence;
    if (watermark < this.foldedUpTo()) return this.fromLog(at, size.rowsMax);
    this.marks.dropUpTo(watermark);
    const taken = this.take(watermark, size);
    if (!taken) return null;
    const { sequence, number, hash } = taken.mark;
    const from = this.known.firstAfter(watermark);
    const to = this.known.firstAfter(sequence);
    await inTurns(this.pending.beginFold(sequence, from, to));
    return { marks: taken.marks, to: { sequence, number, hash }, rows: await this.rowsAt(from, to) };
  }

  private take(watermark: number, size: FoldSize): TakenMarks | undefined {
    const { marks, known } = this;
    const taken = marks.take(size) ?? marks.beyond(watermark);
    if (!taken) return undefined;
    const from = known.firstAfter(watermark);
    const to = known.firstAfter(taken.mark.sequence);
    // Nothing is to be had by looking.
    if (size.wideRowsMax <= size.rowsMax || marks.rows <= to - from) return taken;
    const accounts = new Set<number>();
    for (let place = from; place < to; place++) accounts.add(known.accountNumberOf(known.at(place)));
    const meetsMany = accounts.size * WIDE_FROM_ROWS_AN_ACCOUNT > to - from;
    return meetsMany ? (marks.take({ ...size, rowsMax: size.wideRowsMax }) ?? taken) : taken;
  }

  /** Nothing of these is swept meanwhile: what is not folded is pinned. */
  private async rowsAt(from: number, to: number): Promise<FoldRows> {
    const { known } = this;
    const columns = emptyColumns();
    const names = new Map<number, string>();
    let sequence = -1;
    let index = 0;
    for (let place = from; place < to; place++) {
      // The shard answers in between.
      if (place > from && (place - from) % ROWS_AT_ONCE === 0) await setImmediate();
      const entry = known.at(place);
      const at = known.sequence(entry);
      index = at === sequence ? index + 1 : 0;
      sequence = at;
      const account = known.accountNumberOf(entry);
      let name = names.get(account);
      if (name === undefined) {
        name = known.accountName(account);
        names.set(account, name);
      }
      columns.accounts.push(name);
      columns.ids.push(known.id(entry));
      columns.amounts.push(known.amount(entry));
      columns.timestamps.push(known.timestamp(entry));
      columns.sequences.push(at);
      columns.indexes.push(index);
    }
    return { length: to - from, ...columns };
  }

  /**
   * Every link from the watermark on is checked: no opening has read what lies before `replay_from`, and a record that is
   * passed over here would never reach the data table. Only what a later `rebased` has on record as lost is passed over.
   */
  private async fromLog(at: Watermark, rowsMax: number): Promise<FoldRange> {
    const columns = emptyColumns();
    const to = this.foldedUpTo();
    const walk = new LogWalk<LogMessage>(at.sequence + 1);
    let before: Watermark | null = at;
    let end: FoldRange['to'] | null = null;
    const take = (walked: readonly WalkedRecord<LogMessage>[]): void => {
      for (const { message, record, hash } of walked) {
        const why = before && judgeLink(before, record, message.sequence);
        if (why) walk.damage(message.sequence, message.sequence, why);
        before = null;
        if (message.sequence > to || columns.ids.length >= rowsMax) continue;
        for (const row of acceptedRows(record)) addRow(columns, row, message.sequence);
        end = { sequence: message.sequence, number: record.number, hash };
      }
    };
    let whole = true;
    for await (const message of this.log.read(at.sequence + 1, Math.max(to, this.rebasedAt))) {
      take(walk.take(message));
      whole = columns.ids.length < rowsMax || walk.damageCount > 0;
      if (!whole) break;
    }
    if (whole) take(walk.finish(to));
    const [damage] = walk.damages;
    if (damage) throw new LogBrokenError(`to be folded again: ${damage.why}`);
    if (!end)
      throw new LogBrokenError(`the log has no record after ${at.sequence}, up to which the data table is set back`);
    return { marks: 1, to: end, rows: { length: columns.ids.length, ...columns } };
  }
}

function addRow(columns: FoldColumns, row: AcceptedRow, sequence: number): void {
  columns.accounts.push(row.account);
  columns.ids.push(row.id);
  columns.amounts.push(row.amount);
  columns.timestamps.push(row.timestamp);
  columns.sequences.push(sequence);
  columns.indexes.push(row.index);
}

function emptyColumns(): FoldColumns {
  return { accounts: [], ids: [], amounts: [], timestamps: [], sequences: [], indexes: [] };
}
