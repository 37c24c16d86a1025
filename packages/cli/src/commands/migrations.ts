import { Command } from 'commander';
import { withCluster, withOutput } from '../command-options.js';
import { renderMigrations } from '../render/topology.js';
import { onRun } from '../run-command.js';

/** What moves just now. */
export function migrationsCommand(): Command {
  const command = new Command('migrations').description('Slots that move from one shard to another just now.');
  withCluster(command, 5);
  withOutput(command, 'spill migrations');
  return onRun(command, 5_000, async ({ output, operator, timeoutMs }) => {
    const topology = await (await operator()).topology({ timeoutMs });
    const { epoch, migrations, draining } = topology;
    output.result({ epoch, migrations, draining }, () => renderMigrations(topology) || 'nothing moves');
  });
}
