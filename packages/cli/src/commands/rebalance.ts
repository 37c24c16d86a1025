import { Command } from 'commander';
import { withCluster, withOutput } from '../command-options.js';
import { renderPlan } from '../render/actions.js';
import { onRun } from '../run-command.js';

/** Measures, plans and acts. */
export function rebalanceCommand(): Command {
  const command = new Command('rebalance')
    .description('Plans from what is measured now, and carries the plan out. The supervisor does so by itself, too.')
    .option('--dry-run', 'show the plan with its reasons, and do nothing');
  withCluster(command, 30);
  withOutput(command, 'spill rebalance --dry-run');
  return onRun(command, 30_000, async ({ output, operator, timeoutMs, options }) => {
    const reply = await (await operator()).rebalance(options.dryRun === true, { timeoutMs });
    output.result(reply, () => renderPlan(reply));
  });
}
