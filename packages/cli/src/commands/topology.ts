import { Command } from 'commander';
import { measuredShards, performanceOrNull } from '../ask-performance.js';
import { withCluster, withOutput } from '../command-options.js';
import { renderTopology } from '../render/topology.js';
import { onRun } from '../run-command.js';

/** Who owns what, and what it carries. */
export function topologyCommand(): Command {
  const command = new Command('topology').description('Who owns what, and its load: pools, slots, shards and nodes.');
  withCluster(command, 5);
  withOutput(command, 'spill topology', 'spill topology --json | jq .owners');
  return onRun(command, 5_000, async ({ output, operator, timeoutMs }) => {
    const client = await operator();
    const topology = await client.topology({ timeoutMs });
    const performance = await performanceOrNull(client, { timeoutMs });
    const measured = { ...topology, shards: measuredShards(topology, performance) };
    output.result(measured, () => renderTopology(topology, performance));
  });
}
