/**
 * What an import remembers beside its input, so that one that was cut off goes on with the same timestamps: a retry
 * of a transaction with another timestamp, after its shard has forgotten the id, would be stored a second time and
 * count as pending until the fold drops it.
 *
 * A line of JSON each: first what file it belongs to, then, for each batch, `sent` with its stamp, on disk before the
 * batch leaves; `again` for rows that get another stamp; and `answered` with what became of it. Removed once every
 * batch is answered.
 */
import { type FileHandle, open, readFile, rm, truncate } from 'node:fs/promises';
import { dirname } from 'node:path';
import { CliError, usageError } from '../cli-error.js';
import { EXIT } from '../exit-codes.js';

export interface Reject {
  readonly line: number;
  readonly id: string;
  readonly code: string;
  readonly message: string;
}

/** What became of a batch's rows. */
export interface BatchOutcome {
  readonly stored: number;
  readonly duplicate: number;
  /** Written to the data table directly. */
  readonly applied: number;
  readonly rejected: readonly Reject[];
}

interface Header {
  readonly format: 1;
  readonly sha256: string;
  readonly batch_rows: number;
}

type Entry =
  | { readonly sent: number; readonly stamp: number }
  | { readonly again: number; readonly rows: readonly number[]; readonly stamp: number }
  | ({ readonly answered: number } & BatchOutcome);

interface Waiting {
  readonly text: string;
  /** Is to be on disk, not only written. */
  readonly sync: boolean;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

export class ImportJournal {
  /** Microseconds, by row of the batch. */
  private readonly stamps = new Map<number, Map<number | 'all', number>>();
  private readonly outcomes = new Map<number, BatchOutcome>();
  private waiting: Waiting[] = [];
  private writing = false;

  private constructor(
    readonly path: string,
    private readonly file: FileHandle,
    /** Rows of a batch: those of the import that was cut off. */
    readonly batchRows: number,
  ) {}

  /**
   * Begins a journal, or takes up the one of an import that was cut off.
   *
   * @throws CliError where it belongs to another state of the file, or can't be written.
   */
  static async open(path: string, sha256: string, batchRows: number): Promise<ImportJournal> {
    const [header, ...entries] = (await readLines(path)) as [Header?, ...Entry[]];
    if (header && header.sha256 !== sha256) {
      throw new CliError(
        `${path} is of an import that was cut off, and the file was changed since: put the file back and import it ` +
          'first, or remove the journal (a transaction still takes effect once, by its id)',
        EXIT.refused,
      );
    }
    const journal = new ImportJournal(path, await openFile(path), header?.batch_rows ?? batchRows);
    if (header) {
      for (const entry of entries) journal.take(entry);
    } else {
      await journal.append({ format: 1, sha256, batch_rows: batchRows }, true);
      await syncFolder(path);
    }
    return journal;
  }

  outcomeOf(batch: number): BatchOutcome | undefined {
    return this.outcomes.get(batch);
  }

  /** Whether rows of this batch may have left before. */
  wasSent(batch: number): boolean {
    return this.stamps.has(batch);
  }

  /** The stamp that a row was, or is, sent with. Rows of a batch get stamps one microsecond apart, in file order. */
  stampOf(batch: number, row: number): number {
    const stamps = this.stamps.get(batch);
    const own = stamps?.get(row);
    if (own !== undefined) return own;
    const all = stamps?.get('all');
    if (all === undefined) throw new Error(`batch ${batch} has no stamp yet`);
    return all + row;
  }

  /** Resolves once the stamp is on disk; only then the batch may leave. */
  async sending(batch: number, stamp: number): Promise<void> {
    const entry = { sent: batch, stamp };
    this.take(entry);
    await this.append(entry, true);
  }

  /** Gives rows another stamp; resolves once it is on disk. */
  async sendingAgain(batch: number, rows: readonly number[], stamp: number): Promise<void> {
    const entry = { again: batch, rows, stamp };
    this.take(entry);
    await this.append(entry, true);
  }

  /** Need not be on disk: at worst the batch is sent again, with the same stamps. */
  async answered(batch: number, outcome: BatchOutcome): Promise<void> {
    const entry = { answered: batch, ...outcome };
    this.take(entry);
    await this.append(entry, false);
  }

  /** Every batch is answered. */
  async remove(): Promise<void> {
    await this.file.close();
    // Another import of the same file may have been through first.
    await rm(this.path, { force: true });
  }

  async close(): Promise<void> {
    await this.file.close();
  }

  private take(entry: Entry): void {
    if ('answered' in entry) {
      const { answered, ...outcome } = entry;
      this.outcomes.set(answered, outcome);
    } else if ('again' in entry) {
      const stamps = this.stamps.get(entry.again) ?? new Map<number | 'all', number>();
      for (const [i, row] of entry.rows.entries()) stamps.set(row, entry.stamp + i);
      this.stamps.set(entry.again, stamps);
    } else {
      // The first one is what the rows were first sent with.
      if (!this.stamps.has(entry.sent)) this.stamps.set(entry.sent, new Map([['all', entry.stamp]]));
    }
  }

  /** One write at a time; what comes meanwhile shares the next one, and its fsync. */
  private append(entry: Header | Entry, sync: boolean): Promise<void> {
    const text = `${JSON.stringify(entry)}\n`;
    return new Promise((resolve, reject) => {
      this.waiting.push({ text, sync, resolve, reject });
      if (!this.writing) void this.write();
    });
  }

  private async write(): Promise<void> {
    this.writing = true;
    while (this.waiting.length > 0) {
      const batch = this.waiting.splice(0);
      try {
        await this.file.appendFile(batch.map(({ text }) => text).join(''));
        if (batch.some(({ sync }) => sync)) await this.file.datasync();
        for (const { resolve } of batch) resolve();
      } catch (error) {
        for (const { reject } of batch) reject(asCliError(error, this.path) as Error);
      }
    }
    this.writing = false;
  }
}

/** Empty: there is none. A last line that was cut off is taken away. */
async function readLines(path: string): Promise<unknown[]> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw asCliError(error, path);
  }
  const end = text.lastIndexOf('\n') + 1;
  if (end < text.length) await truncate(path, Buffer.byteLength(text.slice(0, end)));
  if (end === 0) return [];
  try {
    return text
      .slice(0, end - 1)
      .split('\n')
      .map((line) => JSON.parse(line) as unknown);
  } catch (error) {
    throw new CliError(`${path} is not as spill wrote it (${(error as Error).message}): remove it`, EXIT.refused, {
      cause: error,
    });
  }
}

async function openFile(path: string): Promise<FileHandle> {
  try {
    return await open(path, 'a', 0o600);
  } catch (error) {
    throw asCliError(error, path);
  }
}

/** The new name has to be on disk, too. */
async function syncFolder(path: string): Promise<void> {
  const folder = await open(dirname(path), 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}

function asCliError(error: unknown, path: string): unknown {
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === undefined) return error;
  return usageError(
    `the journal ${path} can't be written (${message}): it keeps what a repeated import needs; name another place ` +
      'with --journal',
    { cause: error },
  );
}
