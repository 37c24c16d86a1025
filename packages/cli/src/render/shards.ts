import type { PerformanceReply, ShardLocation, TopologyReply } from '@spill/node';
import type { MeasuredShard } from '../ask-performance.js';
import { bytes, count, milliseconds, percent } from './figures.js';
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

/** All that is known of one shard. */
export function renderShard(shard: MeasuredShard, topology: TopologyReply): string {
  const now = shard.performance;
  const owned = topology.owners[shard.pool].filter((range) => range.shard === shard.id);
  const slots = owned.reduce((sum, { from, to }) => sum + to - from, 0);
  return renderTable(
    [{ head: 'shard' }, { head: String(shard.id) }],
    [
      ['pool', shard.pool],
      ['node', shard.node],
      ['state', shard.refolding ? `${shard.state}, folding again` : shard.state],
      ['why', shard.reason ?? now?.reason],
      ['slots', slots],
      ['assignment', shard.assignment],
      ['replicas', shard.replicas],
      ['log id', shard.log_id],
      ['process', now?.pid],
      ['CPU', percent(now?.cpu_percent)],
      ['memory', bytes(now?.memory_bytes)],
      ['transactions/s', count(now?.transactions_per_s)],
      ['commit p50', milliseconds(now?.commit_p50_ms)],
      ['commit p99', milliseconds(now?.commit_p99_ms)],
      ['queued', count(now?.queued)],
      ['last record', count(now?.sequence)],
      ['folded up to', count(now?.watermark)],
      ['pending', count(now?.pending)],
      ['fold lag', milliseconds(now?.fold_lag_ms)],
      ["can't fold", now?.fold_error],
      ['set aside', count(now?.set_aside)],
      ['conflicts', count(now?.conflicts)],
      ['known ids', count(now?.known)],
      ['hottest slots', hottest(now?.hot_slots)],
      ['hottest accounts', hottest(now?.hot_accounts)],
    ],
  );
}

const HOTTEST_SHOWN = 5;

function hottest(rates: readonly (readonly [string | number, number])[] | null | undefined): string | null {
  if (!rates || rates.length === 0) return null;
  return rates
    .slice(0, HOTTEST_SHOWN)
    .map(([name, rate]) => `${name} (${showCount(rate)}/s)`)
    .join(', ');
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
