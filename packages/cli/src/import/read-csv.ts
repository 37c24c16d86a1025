import { createReadStream } from 'node:fs';
import { accountField, amountField, Fault, idField, showValue, type TransactionKey } from '@spill/core';
import { CsvError, parse } from 'csv-parse';
import { type CliError, usageError } from '../cli-error.js';
import { parseTimestamp } from '../parse-timestamp.js';

/** A row of the file. `line` is where it ends, from 1; `index` counts rows, from 0. */
export type CsvRow =
  | (TransactionKey & {
      readonly line: number;
      readonly index: number;
      readonly amount: bigint;
      /** Microseconds; null: the file gives none. */
      readonly timestamp: number | null;
      readonly fault: null;
    })
  /** Can't be a transaction. */
  | { readonly line: number; readonly index: number; readonly id: string; readonly fault: string };

const REQUIRED = ['id', 'account', 'amount'] as const;
const COLUMNS: readonly string[] = [...REQUIRED, 'timestamp'];
const HEADER_HELP = 'the first line must name the columns: id,account,amount and, if there is one, timestamp';

/**
 * The rows of a CSV file (RFC 4180, any line end, with or without a byte-order mark; empty lines don't count), in the
 * order of the file.
 *
 * @throws CliError naming the line where the file's form is wrong: no header, another number of columns, quotes.
 */
export async function* readCsv(path: string): AsyncGenerator<CsvRow> {
  const parser = parse({
    bom: true,
    info: true,
    record_delimiter: ['\r\n', '\n', '\r'],
    relax_column_count: true,
    skip_empty_lines: true,
  });
  const file = createReadStream(path);
  // `pipe` passes no errors on.
  file.once('error', (error) => parser.destroy(error));
  file.pipe(parser);
  let header: string[] | null = null;
  let index = 0;
  try {
    for await (const { record, info } of parser as AsyncIterable<{ record: string[]; info: { lines: number } }>) {
      const line = info.lines;
      if (record.length === 1 && (record[0] as string).trim() === '') continue;
      if (header === null) {
        header = checkHeader(record, path, line);
        continue;
      }
      if (record.length !== header.length) {
        throw formError(path, line, `${record.length} columns, the header has ${header.length} (${header.join(',')})`);
      }
      yield toRow(header, record, line, index++);
    }
  } catch (error) {
    throw asFormError(error, path);
  } finally {
    file.destroy();
  }
  if (header === null) throw usageError(`${path} is empty: ${HEADER_HELP}`);
}

function checkHeader(record: readonly string[], path: string, line: number): string[] {
  const names = record.map((name) => name.trim());
  const shown = names.slice(0, 8).map((name) => showValue(name));
  if (!names.some((name) => COLUMNS.includes(name))) {
    throw formError(path, line, `no header: ${HEADER_HELP}; it holds ${shown.join(', ')}`);
  }
  for (const name of names) {
    if (!COLUMNS.includes(name))
      throw formError(path, line, `the column ${showValue(name)} is unknown: ${HEADER_HELP}`);
    if (names.indexOf(name) !== names.lastIndexOf(name)) {
      throw formError(path, line, `the column ${showValue(name)} is there twice: ${HEADER_HELP}`);
    }
  }
  const missing = REQUIRED.filter((name) => !names.includes(name));
  if (missing.length > 0) throw formError(path, line, `the column ${missing.join(', ')} is missing: ${HEADER_HELP}`);
  return names;
}

function toRow(header: readonly string[], record: readonly string[], line: number, index: number): CsvRow {
  const value = (name: string): string | undefined => record[header.indexOf(name)];
  const id = idField(value('id'));
  const account = accountField(value('account'));
  const amount = amountField(value('amount'));
  const written = value('timestamp');
  const timestamp = written === undefined || written === '' ? null : (parseTimestamp(written) ?? NOT_A_TIME);
  for (const [name, field] of Object.entries({ id, account, amount, timestamp })) {
    if (!(field instanceof Fault)) continue;
    const shownId = value('id') ?? '';
    return { line, index, id: shownId.slice(0, 64), fault: `${name} is ${showValue(value(name))}: ${field.must}` };
  }
  return { line, index, id, account, amount, timestamp, fault: null } as CsvRow;
}

const NOT_A_TIME = new Fault('must be microseconds since 1970-01-01 UTC, or a time such as 2026-11-24T07:00:00Z');

function formError(path: string, line: number, what: string): CliError {
  return usageError(`${path}, line ${line}: ${what}`);
}

function asFormError(error: unknown, path: string): unknown {
  if (error instanceof CsvError) {
    const { lines } = error as unknown as { lines?: number };
    return usageError(`${path}${lines === undefined ? '' : `, line ${lines}`}: ${error.message}`, { cause: error });
  }
  const { code, message } = error as NodeJS.ErrnoException;
  if (code === 'ENOENT') return usageError(`${path} does not exist`, { cause: error });
  if (code === 'EISDIR') return usageError(`${path} is a folder, not a file`, { cause: error });
  if (code === 'EACCES') return usageError(`${path} may not be read: ${message}`, { cause: error });
  return error;
}
