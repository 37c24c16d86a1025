import { POOLS, type SlotRange } from '@spill/core';
import type { PerformanceReply, TopologyReply, TopologyShard } from '@spill/node';
import { count, percent } from './figures.js';
import { plural, showCount } from './numbers.js';
import { showText } from './show-text.js';
import { showSpans } from './spans.js';
import { renderTable } from './table.js';

const BAR_COLUMNS = 64;

/**
 * Who owns what, at a glance: a bar of slots a pool, then the shards of each node with their load, then what moves and
 * what is wrong. `performance` null: it can't be had just now, and the picture is without load.
 *
 * ```
 *            slot 0                                                     1023
 *   credit   ├───────────── 1 ──────────────┼───────────── 4 ─────────────┤
 * ```
 */
export function renderTopology(topology: TopologyReply, performance: PerformanceReply | null): string {
  return [
    renderHead(topology),
    renderBars(topology),
    ...renderNodes(topology, performance),
    ...(performance ? [] : ['No load is shown: nobody could be asked for it just now.']),
    ...section('Draining: still holds what is to be folded for slots that it gave away', renderDraining(topology)),
    ...section('Moving', renderMigrations(topology)),
    ...section('Needs attention', renderTrouble(topology)),
  ].join('\n\n');
}

function renderHead({ epoch, nodes, shards, large_threshold: threshold }: TopologyReply): string {
  const live = shards.filter((shard) => shard.state !== 'retired').length;
  return (
    `Epoch ${epoch}: ${plural(nodes.length, 'node')}, ${plural(live, 'shard')}. ` +
    `Amounts of ${showCount(BigInt(threshold))} minor units and more go to the pool "large".`
  );
}

function renderBars({ owners, slot_count: slots }: TopologyReply): string {
  const last = String(slots - 1);
  const scale = `slot 0${last.padStart(BAR_COLUMNS - 'slot 0'.length)}`;
  const lines = POOLS.map((pool) => `${pool.padEnd(6)}   ${renderBar(owners[pool], slots)}`);
  return [`         ${scale}`, ...lines].map((line) => `  ${line}`).join('\n');
}

/** Ranges as a ruler; a range too narrow for its shard's number shows none. */
export function renderBar(ranges: readonly SlotRange[], slots: number): string {
  const column = (slot: number): number => Math.round((slot / slots) * (BAR_COLUMNS - 1));
  const bar = Array.from({ length: BAR_COLUMNS }, () => '─');
  for (const { from, to, shard } of ranges) {
    const left = column(from);
    const right = column(to);
    if (left > 0 && left < BAR_COLUMNS - 1) bar[left] = '┼';
    const label = ` ${shard} `;
    const room = right - left - 1;
    if (label.length > room) continue;
    const at = left + 1 + Math.floor((room - label.length) / 2);
    for (let i = 0; i < label.length; i++) bar[at + i] = label[i] as string;
  }
  return `├${bar.slice(1, -1).join('')}┤`;
}

function renderNodes(topology: TopologyReply, performance: PerformanceReply | null): string[] {
  const names = topology.nodes.map((node) => node.name);
  const others = topology.shards.filter((shard) => !names.includes(shard.node)).map((shard) => shard.node);
  return [...names, ...new Set(others)].map((name) => {
    const node = topology.nodes.find((entry) => entry.name === name);
    const labels = Object.entries(node?.labels ?? {}).map(([key, value]) => `${key}=${value}`);
    const marks = [...(node?.alive === false ? ['silent'] : []), ...(node?.draining ? ['draining'] : []), ...labels];
    const known = node ? (marks.length > 0 ? ` (${marks.join(', ')})` : '') : ' (not in the topology)';
    const shards = topology.shards.filter((shard) => shard.node === name && shard.state !== 'retired');
    const table = renderTable(
      [
        { head: 'shard', align: 'right' },
        { head: 'pool' },
        { head: 'state' },
        { head: 'slots', align: 'right' },
        { head: 'owns' },
        ...(performance
          ? ([
              { head: 'transactions/s', align: 'right' },
              { head: 'CPU', align: 'right' },
            ] as const)
          : []),
        { head: 'replicas', align: 'right' },
        { head: 'assignment', align: 'right' },
      ],
      shards.map((shard) => [
        shard.id,
        shard.pool,
        shard.refolding ? `${shard.state}, folding again` : shard.state,
        countSlots(topology.owners[shard.pool], shard.id),
        showOwned(topology.owners[shard.pool], shard.id),
        ...(performance ? showLoad(performance, shard.id) : []),
        shard.replicas,
        shard.assignment,
      ]),
    );
    return `Node ${showText(name)}${showText(known)}\n${indent(table || 'no shards')}`;
  });
}

function showLoad({ shards }: PerformanceReply, shard: number): [rate: string | null, cpu: string | null] {
  const now = shards.find((entry) => entry.shard === shard);
  return [count(now?.transactions_per_s), percent(now?.cpu_percent)];
}

function countSlots(ranges: readonly SlotRange[], shard: number): number {
  return ranges.filter((range) => range.shard === shard).reduce((sum, { from, to }) => sum + to - from, 0);
}

function showOwned(ranges: readonly SlotRange[], shard: number): string {
  return showSpans(ranges.filter((range) => range.shard === shard)) || '-';
}

function renderDraining({ draining }: TopologyReply): string {
  return draining
    .map(({ shard, pool, slots, sealed_sequence: sequence }) => {
      return `shard ${shard} (${pool}): slots ${showSpans(slots)}, until it has folded record ${sequence}`;
    })
    .join('\n');
}

/** A line a migration; empty text where nothing moves. */
export function renderMigrations({ migrations }: TopologyReply): string {
  return migrations
    .map(({ id, pool, slots, source, target, state }) => {
      return `migration ${id} (${pool}): slots ${showSpans(slots)}, shard ${source} ▶ shard ${target}, ${state}`;
    })
    .join('\n');
}

const TROUBLE: ReadonlySet<TopologyShard['state']> = new Set(['damaged', 'failed']);

function renderTrouble({ shards }: TopologyReply): string {
  return shards
    .filter((shard) => TROUBLE.has(shard.state) || shard.assignment === 0)
    .map((shard) => {
      const state = shard.assignment === 0 ? 'was never started' : `is ${shard.state}`;
      const way = shard.state === 'damaged' ? `; see "spill doctor" and "spill repair --help"` : '';
      return `shard ${shard.id} (${shard.pool}) ${state}${showText(shard.reason ? `: ${shard.reason}` : '')}${way}`;
    })
    .join('\n');
}

function section(title: string, body: string): string[] {
  return body === '' ? [] : [`${title}\n${indent(body)}`];
}

function indent(text: string): string {
  return text
    .split('\n')
    .map((line) => `  ${line}`)
    .join('\n');
}
