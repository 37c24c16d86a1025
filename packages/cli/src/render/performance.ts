import type { PerformanceReply, ProcessPerformance, ShardPerformance } from '@spill/node';
import { bytes, count, milliseconds, percent } from './figures.js';
import { showText } from './show-text.js';
import { renderTable } from './table.js';

/** What the processes of every node use, and what the shards do. */
export function renderPerformance(performance: PerformanceReply): string {
  const processes = renderTable(
    [
      { head: 'node' },
      { head: 'process' },
      { head: 'pid', align: 'right' },
      { head: 'state' },
      { head: 'CPU', align: 'right' },
      { head: 'memory', align: 'right' },
      { head: 'read/s', align: 'right' },
      { head: 'write/s', align: 'right' },
    ],
    [...performance.processes, ...performance.shards].map((process) => [
      process.node,
      nameOf(process),
      process.pid,
      process.state,
      percent(process.cpu_percent),
      bytes(process.memory_bytes),
      bytes(process.read_bytes_per_s),
      bytes(process.write_bytes_per_s),
    ]),
  );
  const shards = renderTable(
    [
      { head: 'shard', align: 'right' },
      { head: 'transactions/s', align: 'right' },
      { head: 'commit p50', align: 'right' },
      { head: 'p99', align: 'right' },
      { head: 'queued', align: 'right' },
      { head: 'pending', align: 'right' },
      { head: 'fold lag', align: 'right' },
      { head: 'set aside', align: 'right' },
      { head: 'conflicts', align: 'right' },
    ],
    performance.shards.map((shard) => [
      shard.shard,
      count(shard.transactions_per_s),
      milliseconds(shard.commit_p50_ms),
      milliseconds(shard.commit_p99_ms),
      count(shard.queued),
      count(shard.pending),
      milliseconds(shard.fold_lag_ms),
      count(shard.set_aside),
      count(shard.conflicts),
    ]),
  );
  const trouble = performance.shards.flatMap(({ shard, reason, fold_error: foldError }) => [
    ...(reason ? [`shard ${shard}: ${showText(reason)}`] : []),
    ...(foldError ? [`shard ${shard} can't fold: ${showText(foldError)}`] : []),
  ]);
  const silent = performance.nodes
    .filter(({ answered }) => !answered)
    .map(({ name }) => `node ${showText(name)} is silent`);
  return [silent.join('\n'), processes, shards, trouble.join('\n')].filter((part) => part !== '').join('\n\n');
}

function nameOf(process: ProcessPerformance | ShardPerformance): string {
  return 'shard' in process ? `shard ${process.shard}` : process.role;
}
