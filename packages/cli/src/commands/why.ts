import { Command } from 'commander';
import { withCluster, withOutput } from '../command-options.js';
import { renderActions } from '../render/actions.js';
import { onRun } from '../run-command.js';

/** Why the topology is as it is. */
export function whyCommand(): Command {
  const command = new Command('why').description('What was done to the topology, by whom, and the figures behind it.');
  withCluster(command, 5);
  withOutput(command, 'spill why');
  return onRun(command, 5_000, async ({ output, operator, timeoutMs }) => {
    const reply = await (await operator()).actions({ timeoutMs });
    output.result(reply, () => renderActions(reply) || 'nothing was done yet');
  });
}
