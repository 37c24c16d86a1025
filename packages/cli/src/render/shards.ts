import type { PerformanceReply, ShardLocation, TopologyReply } from '@spill/node';
import { showCount } from './numbers.js';
import { renderTable } from './table.js';

/** Every shard a line. `performance` null: it could not be asked. */
export function renderShards(topology: TopologyReply, performance: PerformanceReply | null): string {
  return renderTable(
    [
      { head: 'shard', align: 'right' },
      { head: 'pool' },
      { head: 'node' },
      { head: 'state' },
      { head: 'assignment', align: 'right' },
      { head: 'pid', align: 'right' },
      { head: 'transactions/s', align: 'right' },
      { head: 'pending', align: 'right' },
      { head: 'set aside', align: 'right' },
      { head: 'conflicts', align: 'right' },
      { head: 'why' },
    ],
    topology.shards.map((shard) => {
      const now = performance?.shards.find((entry) => entry.shard === shard.id);
      return [
        shard.id,
        shard.pool,
        shard.node,
        shard.state,
        shard.assignment,
        now?.pid,
        count(now?.transactions_per_s),
        count(now?.pending),
        count(now?.set_aside),
        count(now?.conflicts),
        shard.reason ?? now?.reason ?? '',
      ];
    }),
  );
}

export function renderLocation(location: ShardLocation): string {
  const { shard, node, pid, subject, stream, replicas, assignment, epoch } = location;
  return renderTable(
    [{ head: 'shard' }, { head: String(shard) }],
    [
      ['node', node],
      ['process', pid ?? 'does not answer'],
      ['subject', subject],
      ['stream', stream],
      ['replicas', replicas],
      ['assignment', assignment],
      ['epoch', epoch],
    ],
  );
}

function count(value: number | null | undefined): string | null {
  return value === null || value === undefined ? null : showCount(value);
}
