import { Command } from 'commander';
import { withCluster, withOutput } from '../command-options.js';
import { renderPerformance } from '../render/performance.js';
import { onRun } from '../run-command.js';

/** What the processes use and do, sampled every two seconds. */
export function performanceCommand(): Command {
  const command = new Command('performance').description(
    'CPU, memory, throughput, latency and backlog of every process.',
  );
  withCluster(command, 5);
  withOutput(command, 'spill performance');
  return onRun(command, 5_000, async ({ output, operator, timeoutMs }) => {
    const performance = await (await operator()).performance({ timeoutMs });
    output.result(performance, () => renderPerformance(performance));
  });
}
