import { accountName, batchAccount, batchAmount, batchTimestamp } from '../transaction/batch.js';
import { isAccepted, type Stored } from './events.js';
import type { LogRecord } from './record.js';

/** A transaction as a record holds it. `index`: its place among the accepted ones of the record, from 0. */
export interface AcceptedRow {
  readonly index: number;
  readonly account: string;
  readonly id: string;
  readonly amount: bigint;
  readonly timestamp: number;
}

/** The transactions that a record holds, in their order. */
export function* acceptedRows(record: LogRecord): Generator<AcceptedRow> {
  let index = 0;
  for (const event of record.events) {
    if (event.type !== 'stored') continue;
    const { batch } = event;
    let idAt = batch.idsAt;
    for (let row = 0; row < batch.rows; row++) {
      const idTo = idAt + (batch.bytes[batch.idLengthsAt + row] as number);
      if (isAccepted(event, row)) {
        yield {
          index: index++,
          account: accountName(batch, batchAccount(batch, row)),
          id: Buffer.from(batch.bytes.buffer, batch.bytes.byteOffset + idAt, idTo - idAt).toString('utf8'),
          amount: batchAmount(batch, row),
          timestamp: batchTimestamp(batch, row),
        };
      }
      idAt = idTo;
    }
  }
}

/** The sum of the amounts that an event accepted. */
export function storedSum(event: Stored): bigint {
  const { view, rows, amountsAt } = event.batch;
  // Halves are summed apart: 65,535 rows of 32 bits stay far below 2^53.
  let low = 0;
  let high = 0;
  for (let row = 0; row < rows; row++) {
    if (!isAccepted(event, row)) continue;
    low += view.getUint32(amountsAt + 8 * row, true);
    high += view.getInt32(amountsAt + 8 * row + 4, true);
  }
  return BigInt(low) + (BigInt(high) << 32n);
}
