import { SpillError, type SubmitResult } from '@spill/core';
import type { SpillClient } from '@spill/node/client';
import { CliError } from '../cli-error.js';
import { EXIT } from '../exit-codes.js';
import type { BatchOutcome, ImportJournal, Reject } from './import-journal.js';
import type { CsvRow } from './read-csv.js';

export interface ImportRows {
  /** The rows of the file, in its order. */
  readonly rows: AsyncIterable<CsvRow>;
  readonly client: Pick<SpillClient, 'submit' | 'get'>;
  readonly journal: ImportJournal;
  /** How many batches are in flight at once. */
  readonly batchesAtOnce: number;
  /** How long a batch is tried, milliseconds. */
  readonly retryMs: number;
  /** Aborted: no further batch is begun, those in flight are waited for. */
  readonly signal: AbortSignal;
  readonly onProgress: (report: ImportReport) => void;
}

export interface ImportReport {
  /** Rows dealt with. */
  readonly rows: number;
  readonly stored: number;
  readonly duplicate: number;
  readonly applied: number;
  readonly rejected: number;
  /** Rows that an earlier, cut off import of the file has dealt with; in the other figures as well. */
  readonly resumed: number;
  /** The first of them, by line. */
  readonly rejects: readonly Reject[];
}

/** Rejects kept for the report; the others are only counted. */
export const REJECTS_MAX = 10_000;
/** How often rows get another stamp, each time one window of deduplication later. */
const STAMPS_MAX = 5;
const GETS_AT_ONCE = 64;

type ValidRow = Extract<CsvRow, { fault: null }>;

interface Batch {
  readonly number: number;
  readonly rows: readonly CsvRow[];
}

/**
 * Sends the rows in batches, several at once, each tried until it is answered for good. What the journal knows to be
 * answered is not sent again.
 *
 * @throws CliError with exit code 3 where a batch was not answered in time, or the import was stopped: the journal
 * stays, and the same import goes on from there.
 */
export async function importRows(options: ImportRows): Promise<ImportReport> {
  const run = new ImportRun(options);
  await run.all();
  return run.report();
}

class ImportRun {
  private rows = 0;
  private stored = 0;
  private duplicate = 0;
  private applied = 0;
  private rejected = 0;
  private resumed = 0;
  private rejects: Reject[] = [];
  private failure: unknown = null;
  /** The first stamp not given out yet, microseconds. */
  private nextStamp = 0;

  constructor(private readonly options: ImportRows) {}

  async all(): Promise<void> {
    const batches = batchesOf(this.options.rows, this.options.journal.batchRows);
    await Promise.all(Array.from({ length: this.options.batchesAtOnce }, () => this.work(batches)));
    if (this.failure !== null) throw this.failure;
    if (this.options.signal.aborted) {
      throw new CliError(`stopped after ${this.rows} rows; ${GO_ON}`, EXIT.unavailable);
    }
  }

  report(): ImportReport {
    const { rows, stored, duplicate, applied, rejected, resumed } = this;
    const rejects = [...this.rejects].sort((a, b) => a.line - b.line);
    return { rows, stored, duplicate, applied, rejected, resumed, rejects };
  }

  /** A failure of one batch ends all, once those in flight are answered. */
  private async work(batches: AsyncGenerator<Batch>): Promise<void> {
    while (this.failure === null && !this.options.signal.aborted) {
      try {
        const next = await batches.next();
        if (next.done) return;
        await this.deal(next.value);
      } catch (error) {
        this.failure ??= error;
      }
    }
  }

  private async deal(batch: Batch): Promise<void> {
    const { journal, onProgress } = this.options;
    const known = journal.outcomeOf(batch.number);
    const outcome = known ?? (await this.send(batch));
    if (known) this.resumed += batch.rows.length;
    else await journal.answered(batch.number, outcome);
    this.rows += batch.rows.length;
    this.stored += outcome.stored;
    this.duplicate += outcome.duplicate;
    this.applied += outcome.applied;
    this.rejected += outcome.rejected.length;
    this.rejects.push(...outcome.rejected.slice(0, REJECTS_MAX - this.rejects.length));
    onProgress(this.report());
  }

  private async send({ number, rows }: Batch): Promise<BatchOutcome> {
    const { journal } = this.options;
    if (!journal.wasSent(number)) await journal.sending(number, this.takeStamps(rows.length));
    const tally = { stored: 0, duplicate: 0, applied: 0, rejected: rows.flatMap(asReject) };
    let open = rows.filter((row) => row.fault === null);
    for (let stamps = 1; open.length > 0; stamps++) {
      const results = await this.submit(number, open);
      const late: ValidRow[] = [];
      for (const [i, row] of open.entries()) {
        const result = results[i] as SubmitResult;
        if (result.status !== 'rejected') tally[result.status] += 1;
        else if (result.error.code === 'expired' && row.timestamp === null && stamps < STAMPS_MAX) late.push(row);
        else tally.rejected.push(rejectOf(row, result.error));
      }
      open = [];
      for (const [row, earlier] of await this.lookUp(late)) {
        if (earlier === null) open.push(row);
        else if (earlier === row.amount) tally.duplicate += 1;
        else tally.rejected.push(rejectOf(row, conflictWith(row, earlier)));
      }
      if (open.length === 0) break;
      const places = open.map((row) => this.placeOf(number, row));
      await journal.sendingAgain(number, places, this.takeStamps(places.length));
    }
    return tally;
  }

  private async submit(batch: number, rows: readonly ValidRow[]): Promise<SubmitResult[]> {
    const { client, journal, retryMs } = this.options;
    const transactions = rows.map(({ account, id, amount, timestamp, ...row }) => ({
      account,
      id,
      amount,
      timestamp: timestamp ?? journal.stampOf(batch, row.index - batch * journal.batchRows),
    }));
    const results = await client.submit(transactions, { deadlineMs: retryMs });
    const open = results.findIndex((result) => result.status === 'rejected' && result.error.retryable);
    if (open !== -1) throw notAnswered(rows[open] as ValidRow, (results[open] as { error: SpillError }).error);
    return results;
  }

  /**
   * Rows that were refused as too old: of an import that was cut off long ago. Whether the earlier try stored them only
   * the cluster can tell; null: it did not. An earlier request that is still under way can't store them any more,
   * since what refused this one refuses that one as well.
   */
  private async lookUp(rows: readonly ValidRow[]): Promise<(readonly [ValidRow, bigint | null])[]> {
    const found: (readonly [ValidRow, bigint | null])[] = [];
    for (let from = 0; from < rows.length; from += GETS_AT_ONCE) {
      const some = rows.slice(from, from + GETS_AT_ONCE);
      found.push(...(await Promise.all(some.map(async (row) => [row, await this.amountOf(row)] as const))));
    }
    return found;
  }

  private async amountOf(row: ValidRow): Promise<bigint | null> {
    const { client, retryMs } = this.options;
    try {
      return (await client.get({ account: row.account, id: row.id }, { deadlineMs: retryMs })).amount;
    } catch (error) {
      if (!(error instanceof SpillError)) throw error;
      if (error.code === 'not_found') return null;
      throw error.retryable ? notAnswered(row, error) : error;
    }
  }

  private placeOf(batch: number, row: CsvRow): number {
    return row.index - batch * this.options.journal.batchRows;
  }

  /** The first of so many stamps, none of which was given out before: rows keep the order of the file. */
  private takeStamps(count: number): number {
    const stamp = Math.max(Date.now() * 1_000, this.nextStamp);
    this.nextStamp = stamp + count;
    return stamp;
  }
}

const GO_ON = 'run the same command again: it goes on where it stopped';

function notAnswered(row: ValidRow, error: SpillError): CliError {
  return new CliError(`line ${row.line}: ${error.code}: ${error.message}; ${GO_ON}`, EXIT.unavailable, {
    cause: error,
  });
}

function conflictWith(row: ValidRow, amount: bigint): SpillError {
  return new SpillError('id_conflict', `amount is ${row.amount}: the id was stored with ${amount} before`);
}

function asReject(row: CsvRow): Reject[] {
  if (row.fault === null) return [];
  return [{ line: row.line, id: row.id, code: 'invalid_transaction', message: row.fault }];
}

/** The place within the batch that the cluster names means nothing to whoever reads the file. */
function rejectOf({ line, id }: ValidRow, { code, message }: SpillError): Reject {
  return { line, id, code, message: message.replace(/^transactions\[\d+\](?:\.|: )/, '') };
}

async function* batchesOf(rows: AsyncIterable<CsvRow>, size: number): AsyncGenerator<Batch> {
  let number = 0;
  let batch: CsvRow[] = [];
  for await (const row of rows) {
    batch.push(row);
    if (batch.length < size) continue;
    yield { number: number++, rows: batch };
    batch = [];
  }
  if (batch.length > 0) yield { number, rows: batch };
}
