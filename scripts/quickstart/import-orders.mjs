import { ImportJournal, importRows, readCsv, scanCsv } from '@spill/cli';
import { startProgress } from './progress.mjs';

const BATCH_ROWS = 128;
const BATCHES_AT_ONCE = 4;
const RETRY_MS = 60_000;

/**
 * Imports a CSV file as `spill import` does, and calls `halfWay` once when half of its rows are answered, while others
 * are on their way.
 *
 * @param {{ client: import('@spill/node/client').SpillClient, file: string, journalFile: string,
 *   halfWay: () => void, signal: AbortSignal }} options
 * @returns {Promise<Map<string, object>>} the results, by `keyOf`
 * @throws Error where a row was refused
 */
export async function importOrders({ client, file, journalFile, halfWay, signal }) {
  const { rows, sha256 } = await scanCsv(file);
  const journal = await ImportJournal.open(journalFile, sha256, BATCH_ROWS);
  const progress = startProgress(rows, 'import');
  const results = new Map();
  let half = false;
  try {
    const { rejects } = await importRows({
      rows: readCsv(file),
      client: noting(client, results),
      journal,
      batchesAtOnce: BATCHES_AT_ONCE,
      retryMs: RETRY_MS,
      signal,
      onProgress: (report) => {
        progress.update(report.rows);
        if (half || report.rows < rows / 2) return;
        half = true;
        halfWay();
      },
    });
    const [first] = rejects;
    if (first) throw new Error(`line ${first.line} was refused: ${first.code}: ${first.message}`);
    await journal.remove();
    return results;
  } finally {
    progress.stop();
  }
}

export function keyOf({ account, id }) {
  return `${id} ${account}`;
}

/** The client, with every result noted. */
function noting(client, results) {
  return {
    get: (key, options) => client.get(key, options),
    submit: async (transactions, options) => {
      const answers = await client.submit(transactions, options);
      for (const [i, answer] of answers.entries()) results.set(keyOf(transactions[i]), answer);
      return answers;
    },
  };
}
