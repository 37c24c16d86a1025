import { POOLS, SpillError } from '@spill/core';
import { Command } from 'commander';
import { measuredShards, performanceOrNull } from '../ask-performance.js';
import { usageError } from '../cli-error.js';
import { withCluster, withExamples, withOutput } from '../command-options.js';
import { renderLocation, renderShard, renderShards } from '../render/shards.js';
import { onRun } from '../run-command.js';
import { SHARD_MAX, wholeArgument } from '../whole-option.js';

export function shardCommand(): Command {
  const group = new Command('shard')
    .description('Shards: what there is and where; make one, or take one away.')
    .addCommand(list())
    .addCommand(locate())
    .addCommand(show())
    .addCommand(create())
    .addCommand(remove());
  return withExamples(group, 'spill shard list', 'spill shard locate 1 --json');
}

function show(): Command {
  const command = new Command('show').description('All that is known of one shard.').argument('<shard>', 'its number');
  withCluster(command, 5);
  withOutput(command, 'spill shard show 1');
  return onRun(command, 5_000, async ({ output, operator, timeoutMs }, given) => {
    const id = wholeArgument('shard', given, 1, SHARD_MAX);
    const client = await operator();
    const topology = await client.topology({ timeoutMs });
    const performance = await performanceOrNull(client, { timeoutMs });
    const shard = measuredShards(topology, performance).find((entry) => entry.id === id);
    if (!shard) throw new SpillError('not_found', `there is no shard ${id}; spill shard list shows them all`);
    output.result(shard, () => renderShard(shard, topology));
  });
}

function create(): Command {
  const command = new Command('create')
    .description('Makes a shard in a pool; slots move to it while traffic flows.')
    .argument('<pool>', `${POOLS.join(', ')}`)
    .option('--node <name>', 'the node that runs it (default: the one with the fewest shards)');
  withCluster(command, 30);
  withOutput(command, 'spill shard create credit');
  return onRun(command, 30_000, async ({ output, operator, timeoutMs, options }, given) => {
    const pool = POOLS.find((name) => name === given);
    if (!pool) throw usageError(`pool is ${JSON.stringify(given)}: must be one of ${POOLS.join(', ')}`);
    const node = typeof options.node === 'string' ? options.node : null;
    const made = await (await operator()).createShard(pool, node, { timeoutMs });
    output.result(made, () => `shard ${made.shard} is made; spill topology shows what moves to it`);
  });
}

function remove(): Command {
  const command = new Command('delete')
    .description('Takes a shard away: its slots move, its log is folded to the end, then it is retired.')
    .argument('<shard>', 'its number');
  withCluster(command, 30);
  withOutput(command, 'spill shard delete 4');
  return onRun(command, 30_000, async ({ output, operator, timeoutMs }, given) => {
    const shard = wholeArgument('shard', given, 1, SHARD_MAX);
    const state = await (await operator()).deleteShard(shard, { timeoutMs });
    output.result(state, () => `shard ${shard} is ${state.state}; spill topology shows how far it is`);
  });
}

function list(): Command {
  const command = new Command('list').description('Every shard with its state and its backlog.');
  withCluster(command, 5);
  withOutput(command, 'spill shard list');
  return onRun(command, 5_000, async ({ output, operator, timeoutMs }) => {
    const client = await operator();
    const topology = await client.topology({ timeoutMs });
    const performance = await performanceOrNull(client, { timeoutMs });
    const shards = measuredShards(topology, performance);
    output.result({ epoch: topology.epoch, shards }, () => renderShards(topology, performance));
  });
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
