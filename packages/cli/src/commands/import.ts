import { statSync } from 'node:fs';
import { basename } from 'node:path';
import { Command } from 'commander';
import { withCluster, withOutput } from '../command-options.js';
import { EXIT } from '../exit-codes.js';
import { ImportJournal } from '../import/import-journal.js';
import { importRows } from '../import/import-rows.js';
import { readCsv } from '../import/read-csv.js';
import { scanCsv } from '../import/scan-csv.js';
import { showProgress } from '../import/show-progress.js';
import { renderImportReport } from '../render/import-report.js';
import { onRun } from '../run-command.js';

const BATCH_ROWS = 1_000;
const BATCHES_AT_ONCE = 8;
/** Takes a second or more to read. */
const LARGE_FILE_BYTES = 8 * 2 ** 20;

/** A CSV file's rows, each stored once however often the import is repeated. */
export function importCommand(): Command {
  const command = new Command('import')
    .description(
      'Store the rows of a CSV file: a header id,account,amount[,timestamp], amounts in minor units. ' +
        'Cut off, it goes on where it stopped when it is run again.',
    )
    .argument('<file.csv>', 'the file; nothing of it is sent unless its form is right to the end')
    .option('--journal <file>', 'what a repeated import needs (default: FILE.spill-import.jsonl beside the file)');
  withCluster(command, 60);
  withOutput(command, 'spill import payment-orders.csv');
  return onRun(command, 60_000, async (context, given) => {
    const path = String(given);
    if ((statSync(path, { throwIfNoEntry: false })?.size ?? 0) > LARGE_FILE_BYTES) {
      context.output.note(`${basename(path)}: reading it through before anything is sent`);
    }
    const scan = await scanCsv(path);
    const client = await context.client();
    const journalPath = (context.options.journal as string | undefined) ?? `${path}.spill-import.jsonl`;
    const stop = stopOnSignal(() => context.output.note('\nstopping: what is in flight is waited for'));
    const journal = await ImportJournal.open(journalPath, scan.sha256, BATCH_ROWS);
    const progress = context.output.json ? null : showProgress(basename(path), scan.rows, process.stderr);
    const begun = performance.now();
    try {
      const report = await importRows({
        rows: readCsv(path),
        client,
        journal,
        batchesAtOnce: BATCHES_AT_ONCE,
        retryMs: context.timeoutMs,
        signal: stop.signal,
        onProgress: (now) => progress?.update(now),
      });
      progress?.stop();
      await journal.remove();
      const seconds = (performance.now() - begun) / 1_000;
      context.output.result({ file: path, ...report, seconds }, () => renderImportReport(path, report, seconds));
      return report.rejected > 0 ? EXIT.refused : EXIT.ok;
    } catch (error) {
      progress?.stop();
      await journal.close();
      throw error;
    } finally {
      stop.done();
    }
  });
}

/** The first signal lets the import end in order, the second ends it at once. */
function stopOnSignal(onFirst: () => void): { signal: AbortSignal; done: () => void } {
  const controller = new AbortController();
  const onSignal = (): void => {
    if (controller.signal.aborted) process.exit(EXIT.unavailable);
    controller.abort();
    onFirst();
  };
  process.on('SIGINT', onSignal);
  process.on('SIGTERM', onSignal);
  return {
    signal: controller.signal,
    done: () => {
      process.off('SIGINT', onSignal);
      process.off('SIGTERM', onSignal);
    },
  };
}
