import { existsSync } from 'node:fs';
import { repairOverNats } from '@spill/node';
import { Command } from 'commander';
import { withCluster, withDatabase, withOutput } from '../command-options.js';
import { EXIT } from '../exit-codes.js';
import { operatorNote } from '../operator-note.js';
import { renderRepair } from '../render/repair.js';
import { onRun } from '../run-command.js';
import { SHARD_MAX, wholeArgument } from '../whole-option.js';

/** A damaged log goes on with what is left of it, once somebody decides so. */
export function repairCommand(): Command {
  const command = new Command('repair')
    .description(
      'What a damaged shard has lost; with --accept-loss it serves again with what is left, and the loss is on record.',
    )
    .argument('<shard>', 'its number')
    .option('--accept-loss', 'go on without what is lost; without this nothing is changed, and the exit code is 4')
    .option(
      '--accept-new-ledger',
      "with --accept-loss, where spill's schema was lost and made anew: fold all that is kept again, though balances " +
        'that hold it already would count it twice',
    )
    .option('--who <name>', 'who decides this (default: $USER)')
    .option('--why <reason>', 'why; with --accept-loss, kept in the log and in the database');
  withDatabase(withCluster(command, 60));
  withOutput(
    command,
    'spill repair 2',
    'spill repair 2 --accept-loss --why "disk of node-a died, orders replayed from the queue"',
  );
  return onRun(command, 60_000, async (context, given) => {
    const { options, output, nats, settings } = context;
    const shard = wholeArgument('shard', given, 1, SHARD_MAX);
    const acceptLoss = options.acceptLoss === true;
    const note = acceptLoss ? operatorNote(options) : { who: '', why: '' };
    // First, so that a cluster that is away is told as by every other command.
    await context.operator();
    const report = await repairOverNats({
      servers: nats,
      prefix: settings.prefix,
      table: context.dataTable(),
      shard,
      acceptLoss,
      acceptNewLedger: options.acceptNewLedger === true,
      note,
      dataDir: existsSync(settings.dataDir) ? settings.dataDir : null,
    });
    output.result(report, () => renderRepair(report));
    return report.repaired ? EXIT.ok : EXIT.found;
  });
}
