/**
 * What a shard still has to fold, beyond a watermark: from the known ids, which hold every transaction that is not
 * forgotten; and from the log itself where the data table was set back to before what is forgotten.
 */
import {
  type AcceptedRow,
  acceptedRows,
  type FoldRows,
  type KnownIds,
  type Pending,
  type VouchedRecord,
  VouchedRecords,
} from '@spill/core';
import type { JetStreamLog, LogMessage } from '../nats/log.js';
import type { RecordMarks } from '../shard/record-marks.js';

export interface FoldRange {
  /** How many places of the log at which a fold may end it spans: what is halved when it meets another transaction. */
  readonly marks: number;
  readonly to: { readonly sequence: number; readonly number: number; readonly hash: string };
  readonly rows: FoldRows;
}

interface FoldColumns {
  accounts: string[];
  ids: string[];
  amounts: bigint[];
  timestamps: number[];
  sequences: number[];
  indexes: number[];
}

export class FoldSource {
  constructor(
    private readonly known: KnownIds,
    private readonly marks: RecordMarks,
    private readonly pending: Pending,
    private readonly log: JetStreamLog,
    /** Transactions in records up to here may be forgotten. */
    private readonly foldedUpTo: () => number,
  ) {}

  /** The next range beyond `watermark` with about `rowsMax` rows; null: nothing is left. */
  async next(watermark: number, rowsMax: number, marksMax: number): Promise<FoldRange | null> {
    if (watermark < this.foldedUpTo()) return this.fromLog(watermark, rowsMax);
    this.marks.dropUpTo(watermark);
    const taken = this.marks.take(rowsMax, marksMax) ?? this.marks.beyond(watermark);
    if (!taken) return null;
    const { sequence, number, hash } = taken.mark;
    const from = this.known.firstAfter(watermark);
    const to = this.known.firstAfter(sequence);
    this.pending.beginFold(sequence, from, to);
    return { marks: taken.marks, to: { sequence, number, hash }, rows: this.rowsAt(from, to) };
  }

  private rowsAt(from: number, to: number): FoldRows {
    const { known } = this;
    const columns = emptyColumns();
    let sequence = -1;
    let index = 0;
    for (let place = from; place < to; place++) {
      const entry = known.at(place);
      const at = known.sequence(entry);
      index = at === sequence ? index + 1 : 0;
      sequence = at;
      columns.accounts.push(known.account(entry));
      columns.ids.push(known.id(entry));
      columns.amounts.push(known.amount(entry));
      columns.timestamps.push(known.timestamp(entry));
      columns.sequences.push(at);
      columns.indexes.push(index);
    }
    return { length: to - from, ...columns };
  }

  private async fromLog(watermark: number, rowsMax: number): Promise<FoldRange> {
    const columns = emptyColumns();
    let end: FoldRange['to'] | null = null;
    // What a repair accepted as lost is passed over here as it is in the replay.
    const records = new VouchedRecords<LogMessage>();
    const take = (vouched: VouchedRecord<LogMessage> | null): void => {
      if (!vouched) return;
      const { message, record, hash } = vouched;
      for (const row of acceptedRows(record)) addRow(columns, row, message.sequence);
      end = { sequence: message.sequence, number: record.number, hash };
    };
    for await (const message of this.log.read(watermark + 1, this.foldedUpTo())) {
      take(records.next(message).vouched);
      if (columns.ids.length >= rowsMax) break;
    }
    if (columns.ids.length < rowsMax) take(records.end());
    if (!end) throw new Error(`the log has no record after ${watermark}`);
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
