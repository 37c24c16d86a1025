import { Command } from 'commander';
import { withCluster, withOutput } from '../command-options.js';
import { renderTopology } from '../render/topology.js';
import { onRun } from '../run-command.js';

/** Who owns what. */
export function topologyCommand(): Command {
  const command = new Command('topology').description('Who owns what: pools, slots, shards and nodes.');
  withCluster(command, 5);
  withOutput(command, 'spill topology', 'spill topology --json | jq .owners');
  return onRun(command, 5_000, async ({ output, operator, timeoutMs }) => {
    const topology = await (await operator()).topology({ timeoutMs });
    output.result(topology, () => renderTopology(topology));
  });
}
