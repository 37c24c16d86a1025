import type { PeerFigure, ScenarioResult } from './scenario.js';
import { type Reached, reached, TARGETS, type Target } from './targets.js';

export interface Outcome {
  readonly name: string;
  readonly seconds: number;
  readonly result: ScenarioResult | null;
  /** Why there is no result. */
  readonly failure: string | null;
}

export interface BenchRun {
  readonly machine: Readonly<Record<string, string | number>>;
  readonly versions: Readonly<Record<string, string>>;
  readonly sync: string;
  readonly seconds: number;
  readonly outcomes: readonly Outcome[];
}

const REACHED = { goal: 'goal', floor: 'floor', no: '**no**' } as const;

/** A row of the table. */
export interface Row {
  readonly target: Target;
  readonly value: number;
  readonly reached: Reached;
  /** By peer: how many times as many transactions a second. */
  readonly ratios: Readonly<Record<string, number>>;
  readonly detail?: string;
}

export function rowsOf(outcomes: readonly Outcome[]): Row[] {
  const figures = outcomes.flatMap(({ result }) => result?.figures ?? []);
  const peers = peersOf(outcomes);
  return TARGETS.flatMap((target): Row[] => {
    const figure = figures.find(({ id }) => id === target.id);
    if (!figure) return [];
    const { value, perSecond, detail } = figure;
    const ratios = peers.flatMap((peer): [string, number][] =>
      peer.perSecond === null || perSecond === undefined ? [] : [[peer.peer, perSecond / peer.perSecond]],
    );
    return [
      { target, value, reached: reached(target, value), ratios: Object.fromEntries(ratios), ...(detail && { detail }) },
    ];
  });
}

/** Scenario, figure, floor, goal, what is reached, and how many times each peer it is, as Markdown. */
export function table(outcomes: readonly Outcome[]): string {
  const rows = rowsOf(outcomes);
  const peers = peersOf(outcomes).filter(({ perSecond }) => perSecond !== null);
  const cells = rows.map(({ target, value, reached, ratios }) => [
    target.what,
    withUnit(target, value),
    withUnit(target, target.floor),
    withUnit(target, target.goal),
    REACHED[reached],
    ...peers.map(({ peer }) => (ratios[peer] === undefined ? '' : ratio(ratios[peer]))),
  ]);
  const heads = ['scenario', 'figure', 'floor', 'goal', 'reached', ...peers.map(({ peer }) => `× ${peer}`)];
  const details = rows.flatMap(({ target, detail }) => (detail ? [`- ${target.what}: ${detail}.`] : []));
  const failures = outcomes.flatMap(({ name, failure }) =>
    failure === null ? [] : [`- **${name} failed**: ${firstLine(failure)}`],
  );
  return [
    aligned(heads, cells, ['left', 'right', 'right', 'right', 'left', ...peers.map(() => 'right' as const)]),
    '',
    ...details,
    ...failures,
  ].join('\n');
}

/** What the columns of the peers are. */
export function peerList(outcomes: readonly Outcome[]): string {
  const rows = peersOf(outcomes).map(({ peer, what, perSecond, why }) => [
    peer,
    what,
    perSecond === null ? `left out: ${why}` : number(perSecond),
  ]);
  return rows.length === 0 ? '' : aligned(['peer', 'what', 'tx/s'], rows, ['left', 'left', 'right']);
}

/** Where, when and with what it was measured. */
export function summary({ machine, versions, sync, seconds, outcomes }: BenchRun): string {
  const { at, commit, cores, cpu, memoryGiB, system, loadBefore } = machine;
  const wrong = outcomes.filter(({ failure }) => failure).length;
  const compared = outcomes.flatMap(({ result }) => result?.checked ?? []);
  const count = compared.reduce((sum, { acknowledged }) => sum + acknowledged, 0);
  return [
    `${String(at).slice(0, 10)}, commit ${commit}: ${cores} cores (${cpu}), ${memoryGiB} GiB, ${system}, load ${loadBefore} before;`,
    `Node ${versions.node}, nats-server ${versions.natsServer}, PostgreSQL ${versions.postgres}, sync_interval ${sync}.`,
    `${seconds} s in all. ${number(count)} acknowledged transactions were compared with rows, ledger and logs, and were right.`,
    ...(wrong > 0 ? [`**${wrong} of ${outcomes.length} scenarios failed.**`] : []),
  ].join(' ');
}

function peersOf(outcomes: readonly Outcome[]): PeerFigure[] {
  const all = outcomes.flatMap(({ result }) => result?.peers ?? []);
  // One that several scenarios measured counts as the first one saw it.
  return all.filter(({ peer }, place) => all.findIndex((other) => other.peer === peer) === place);
}

function withUnit({ unit }: Target, value: number): string {
  switch (unit) {
    case 'tx/s':
      return `${number(value)}/s`;
    case '%':
      return `${number(value)} %`;
    case 'times':
      return `${value.toFixed(1)} times`;
    case 'ms':
      return `${value.toFixed(value < 10 ? 1 : 0)} ms`;
    case 's':
      return `${value.toFixed(1)} s`;
    case 'bytes':
      return `${number(value)} bytes`;
  }
}

const number = (value: number): string => Math.round(value).toLocaleString('en-US');
const ratio = (value: number): string => (value >= 10 ? number(value) : value.toFixed(value >= 1 ? 1 : 2));
/** The JSON has the whole of it. */
export const firstLine = (text: string): string => (text.split('\n')[0] ?? '').slice(0, 300);

function aligned(heads: string[], rows: string[][], sides: ('left' | 'right')[]): string {
  const widths = heads.map((head, i) => Math.max(3, head.length, ...rows.map((row) => row[i]?.length ?? 0)));
  const line = (cells: string[]): string =>
    `| ${cells.map((cell, i) => (sides[i] === 'right' ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!))).join(' | ')} |`;
  const rule = widths.map((width, i) => (sides[i] === 'right' ? `${'-'.repeat(width - 1)}:` : '-'.repeat(width)));
  return [line(heads), line(rule), ...rows.map(line)].join('\n');
}
