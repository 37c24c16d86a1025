import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { readCsv } from './read-csv.js';

export interface CsvScan {
  readonly rows: number;
  /** Of the file's bytes, in hexadecimal. */
  readonly sha256: string;
}

/**
 * Reads a whole CSV file before anything of it is sent: how many rows it has, and that its form is right to its end.
 *
 * @throws CliError as `readCsv` does.
 */
export async function scanCsv(path: string): Promise<CsvScan> {
  let rows = 0;
  for await (const _row of readCsv(path)) rows += 1;
  const hash = createHash('sha256');
  for await (const chunk of createReadStream(path)) hash.update(chunk);
  return { rows, sha256: hash.digest('hex') };
}
