import { Command } from 'commander';
import { withCluster, withOutput } from '../command-options.js';
import { plural } from '../render/numbers.js';
import { onRun } from '../run-command.js';
import { SHARD_MAX, wholeOption } from '../whole-option.js';

/** Has everything acknowledged so far folded. */
export function foldCommand(): Command {
  const command = new Command('fold')
    .description('Fold now: returns when everything stored before is in the data table or set aside.')
    .option('--shard <number>', 'only this shard (default: all)');
  withCluster(command, 60);
  withOutput(command, 'spill fold');
  return onRun(command, 60_000, async ({ options, output, operator, timeoutMs }) => {
    const shard = wholeOption(options, 'shard', 1, SHARD_MAX) ?? null;
    const reply = await (await operator()).fold(shard, { timeoutMs });
    output.result(reply, () => {
      const aside = reply.set_aside > 0 ? `, ${reply.set_aside} set aside: see "spill set-aside list"` : '';
      return `${plural(reply.folded, 'transaction')} folded${aside}`;
    });
  });
}
