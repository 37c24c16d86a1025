import { Command } from 'commander';
import { withCluster, withOutput } from '../command-options.js';
import { renderTable } from '../render/table.js';
import { onRun } from '../run-command.js';

/** The machines of the cluster. */
export function nodesCommand(): Command {
  const command = new Command('nodes')
    .description('The nodes of the cluster, with their labels and shards.')
    .addCommand(remove());
  withCluster(command, 5);
  withOutput(command, 'spill nodes');
  return onRun(command, 5_000, async ({ output, operator, timeoutMs }) => {
    const client = await operator();
    const topology = await client.topology({ timeoutMs });
    const performance = await client.performance({ timeoutMs });
    const nodes = topology.nodes.map((node) => ({
      ...node,
      answers: performance.nodes.some(({ name, answered }) => name === node.name && answered),
      shards: topology.shards
        .filter((shard) => shard.node === node.name && shard.state !== 'retired')
        .map(({ id }) => id),
    }));
    output.result({ epoch: topology.epoch, nodes }, () =>
      renderTable(
        [{ head: 'node' }, { head: 'state' }, { head: 'shards' }, { head: 'labels' }, { head: 'since' }],
        nodes.map(({ name, answers, draining, shards, labels, since }) => [
          name,
          [answers ? 'answers' : 'silent', ...(draining ? ['drains'] : [])].join(', '),
          shards.join(', '),
          Object.entries(labels)
            .map(([key, value]) => `${key}=${value}`)
            .join(', '),
          since,
        ]),
      ),
    );
  });
}

function remove(): Command {
  const command = new Command('remove')
    .description('Takes a node that is gone for good out of the list: it is silent, and no shard is assigned to it.')
    .argument('<node>', 'its name');
  withCluster(command, 5);
  withOutput(command, 'spill nodes remove n3');
  return onRun(command, 5_000, async ({ output, operator, timeoutMs }, given) => {
    const removed = await (await operator()).removeNode(String(given), { timeoutMs });
    output.result(removed, () => `node ${removed.node} is removed; its next start would take it back`);
  });
}
