import { SpillError } from '@spill/core';
import type { OperatorClient, PerformanceReply } from '@spill/node';
import { Command } from 'commander';
import { withCluster, withOutput } from '../command-options.js';
import { renderLocation, renderShards } from '../render/shards.js';
import { onRun } from '../run-command.js';
import { SHARD_MAX, wholeArgument } from '../whole-option.js';

export function shardCommand(): Command {
  return new Command('shard').description('Shards: what there is and where.').addCommand(list()).addCommand(locate());
}

function list(): Command {
  const command = new Command('list').description('Every shard with its state and its backlog.');
  withCluster(command, 5);
  withOutput(command, 'spill shard list');
  return onRun(command, 5_000, async ({ output, operator, timeoutMs }) => {
    const client = await operator();
    const topology = await client.topology({ timeoutMs });
    const performance = await orNull(client, timeoutMs);
    const shards = topology.shards.map((shard) => ({
      ...shard,
      performance: performance?.shards.find((entry) => entry.shard === shard.id) ?? null,
    }));
    output.result({ epoch: topology.epoch, shards }, () => renderShards(topology, performance));
  });
}

/** The figures are beside the point where they can't be had. */
async function orNull(client: OperatorClient, timeoutMs: number): Promise<PerformanceReply | null> {
  try {
    return await client.performance({ timeoutMs });
  } catch (error) {
    if (error instanceof SpillError && error.retryable) return null;
    throw error;
  }
}

function locate(): Command {
  const command = new Command('locate')
    .description('Where a shard is: node, process, subject, stream, replicas.')
    .argument('<shard>', 'its number');
  withCluster(command, 5);
  withOutput(command, 'spill shard locate 1');
  return onRun(command, 5_000, async ({ output, operator, timeoutMs }, given) => {
    const shard = wholeArgument('shard', given, 1, SHARD_MAX);
    const location = await (await operator()).locate(shard, { timeoutMs });
    output.result(location, () => renderLocation(location));
  });
}
