import { renderActions, renderPlan, renderShard, renderShards, renderTopology } from '@spill/cli';
import type { ActionReply, PerformanceReply, TopologyReply } from '@spill/node';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { runs } from '../support/property-runs.js';

const SHARD = { node: 'node-a', assignment: 3, state: 'open', replicas: 1, log_id: '0'.repeat(32) } as const;
const TOPOLOGY: TopologyReply = {
  epoch: 7,
  hash: 'xxh64',
  slot_count: 1024,
  large_threshold: '1000000',
  account_type: 'text' as const,
  nodes: [
    { name: 'node-a', labels: { disk: 'fast' }, since: '2026-11-24T07:00:00Z' },
    { name: 'node-b', labels: {}, since: '2026-11-24T07:00:00Z' },
  ],
  shards: [
    { ...SHARD, id: 1, pool: 'credit' },
    { ...SHARD, id: 2, pool: 'debit', state: 'damaged', reason: 'record 17 is missing' },
    { ...SHARD, id: 3, pool: 'large', node: 'node-b', refolding: true },
    { ...SHARD, id: 4, pool: 'credit', node: 'node-b' },
    { ...SHARD, id: 5, pool: 'credit', node: 'node-b', state: 'retired' },
  ],
  owners: {
    credit: [
      { from: 0, to: 512, shard: 1 },
      { from: 512, to: 1024, shard: 4 },
    ],
    debit: [{ from: 0, to: 1024, shard: 2 }],
    large: [{ from: 0, to: 1024, shard: 3 }],
  },
  draining: [{ shard: 1, pool: 'credit', slots: [{ from: 512, to: 1024 }], sealed_sequence: 90 }],
  migrations: [{ id: 2, pool: 'credit', slots: [{ from: 7, to: 8 }], source: 1, target: 4, state: 'copying' }],
};

const FIGURES = {
  node: 'node-a',
  role: 'shard',
  pid: 71,
  state: 'serving',
  cpu_percent: 61,
  memory_bytes: 157_286_400,
  read_bytes_per_s: 0,
  write_bytes_per_s: 1_024,
  shard: 1,
  transactions_per_s: 48_210,
  commit_p50_ms: 3.14,
  commit_p99_ms: 11.6,
  queued: 17,
  pending: 2_345,
  pending_bytes: 99_000,
  fold_lag_ms: 870,
  fold_error: 'the database is away',
  known: 500_000,
  sequence: 9_001,
  watermark: 8_999,
  horizon: 0,
  set_aside: 4,
  conflicts: 1,
  replay_ms: 12,
  reason: null,
  hot_slots: [[7, 1_200]],
  hot_accounts: [],
} as const;
/** Of node-b nothing is known. */
const PERFORMANCE: PerformanceReply = {
  nodes: [
    { name: 'node-a', answered: true },
    { name: 'node-b', answered: false },
  ],
  processes: [],
  shards: [FIGURES, { ...FIGURES, shard: 2, cpu_percent: null, transactions_per_s: 0 }],
};

describe('the picture of a topology', () => {
  test('says who owns what, with its load, what moves and what is wrong', () => {
    expect(renderTopology(TOPOLOGY, PERFORMANCE)).toBe(
      [
        'Epoch 7: 2 nodes, 4 shards. Amounts of 1,000,000 minor units and more go to the pool "large".',
        '',
        '           slot 0                                                      1023',
        '  credit   ├────────────── 1 ──────────────┼───────────── 4 ──────────────┤',
        '  debit    ├───────────────────────────── 2 ──────────────────────────────┤',
        '  large    ├───────────────────────────── 3 ──────────────────────────────┤',
        '',
        'Node node-a (disk=fast)',
        '  shard  pool    state    slots  owns    transactions/s   CPU  replicas  assignment',
        '      1  credit  open       512  0-511           48,210  61 %         1           3',
        '      2  debit   damaged   1024  0-1023               0     -         1           3',
        '',
        'Node node-b',
        '  shard  pool    state                slots  owns      transactions/s  CPU  replicas  assignment',
        '      3  large   open, folding again   1024  0-1023                 -    -         1           3',
        '      4  credit  open                   512  512-1023               -    -         1           3',
        '',
        'Draining: still holds what is to be folded for slots that it gave away',
        '  shard 1 (credit): slots 512-1023, until it has folded record 90',
        '',
        'Moving',
        '  migration 2 (credit): slots 7, shard 1 ▶ shard 4, copying',
        '',
        'Needs attention',
        '  shard 2 (debit) is damaged: record 17 is missing; see "spill doctor" and "spill repair --help"',
      ].join('\n'),
    );
  });

  test('is without load where that is not to be had, and says so', () => {
    const text = renderTopology(TOPOLOGY, null);
    expect(text).toContain('\n  shard  pool    state    slots  owns    replicas  assignment\n');
    expect(text).toContain('\n\nNo load is shown: nobody could be asked for it just now.\n\n');
  });

  test('has bars of one width, however the slots are divided', () => {
    const cuts = fc.uniqueArray(fc.integer({ min: 1, max: 1023 }), { maxLength: 200 });
    fc.assert(
      fc.property(cuts, (unsorted) => {
        const edges = [0, ...unsorted.sort((a, b) => a - b), 1024];
        const credit = edges.slice(1).map((to, i) => ({ from: edges[i] as number, to, shard: i + 1 }));
        const lines = renderTopology({ ...TOPOLOGY, owners: { ...TOPOLOGY.owners, credit } }, null).split('\n');
        const bar = (lines.find((line) => line.startsWith('  credit')) as string).slice(11);
        expect(bar).toMatch(/^├[─┼ 0-9]{62}┤$/u);
        if (edges.length === 2) expect(bar).toContain(' 1 ');
      }),
      runs(200),
    );
  });
});

test('shards are listed with their figures, or without where there are none', () => {
  const text = renderShards(TOPOLOGY, null).split('\n');
  expect(text).toHaveLength(6);
  expect(text[2]).toMatch(/^ {4}2 {2}debit .* damaged .* record 17 is missing$/);
});

test('all that is known of one shard', () => {
  const shard = TOPOLOGY.shards[0] as TopologyReply['shards'][number];
  const rows = (performance: typeof FIGURES | null): string[] =>
    renderShard({ ...shard, performance }, TOPOLOGY)
      .split('\n')
      .map((line) => line.replace(/ {2,}/, ': '));
  const known = ['shard: 1', 'pool: credit', 'node: node-a', 'state: open', 'why: -', 'slots: 512', 'assignment: 3'];
  expect(rows(FIGURES)).toEqual([
    ...known,
    'replicas: 1',
    `log id: ${'0'.repeat(32)}`,
    'process: 71',
    'CPU: 61 %',
    'memory: 150.0 MiB',
    'transactions/s: 48,210',
    'commit p50: 3.1 ms',
    'commit p99: 11.6 ms',
    'queued: 17',
    'last record: 9,001',
    'folded up to: 8,999',
    'pending: 2,345',
    'fold lag: 870 ms',
    "can't fold: the database is away",
    'set aside: 4',
    'conflicts: 1',
    'known ids: 500,000',
    'hottest slots: 7 (1,200/s)',
    'hottest accounts: -',
  ]);
  expect(rows(null)).toEqual(expect.arrayContaining([...known, 'CPU: -', 'fold lag: -', 'conflicts: -']));
});

describe('what was done', () => {
  const reason = 'it was asked for';
  const move = { action: 'move_slots', pool: 'credit', source: 1, target: 4, reason } as const;

  test.each<[ActionReply, string]>([
    [{ action: 'create_shard', pool: 'credit', shard: 4, reason }, 'shard 4 is made in pool credit'],
    [{ action: 'create_shard', pool: 'debit', reason }, 'a new shard is made in pool debit'],
    [{ action: 'delete_shard', pool: 'credit', shard: 4, reason }, 'shard 4 of pool credit is taken away'],
    [
      {
        ...move,
        slots: [
          { from: 0, to: 128 },
          { from: 900, to: 901 },
        ],
      },
      '129 slots of pool credit (0-127, 900) go from shard 1 to shard 4',
    ],
    [{ ...move, slots: [{ from: 7, to: 8 }] }, '1 slot of pool credit (7) goes from shard 1 to shard 4'],
    [{ action: 'reassign_shard', shard: 3, from: 'n2', to: 'n1', reason }, 'shard 3 goes from node n2 to node n1'],
    [{ action: 'remove_node', node: 'n3', reason }, 'node n3 is taken out of the list'],
    [{ action: 'of_tomorrow', reason } as unknown as ActionReply, 'of_tomorrow'],
  ])('%o is a sentence', (action, sentence) => {
    const recorded = { at: '2026-11-24T07:00:00.000Z', by: 'an operator, through n1', action, figures: [] };
    expect(renderActions({ actions: [recorded] })).toBe(
      `2026-11-24T07:00:00.000Z  ${sentence}: it was asked for (an operator, through n1)`,
    );
  });

  test('stands above its figures, and a plan above its notes', () => {
    const action = { action: 'create_shard', pool: 'credit', reason: 'shard 1 is at 90 %' } as const;
    const figures = [{ shard: 1, cpu: 0.9, memory: 0.25, rate: 48_210.4 }];
    expect(
      renderActions({ actions: [{ at: 'then', by: 'the supervisor on n1', action, figures }] }).split('\n'),
    ).toEqual([
      'then  a new shard is made in pool credit: shard 1 is at 90 % (the supervisor on n1)',
      '    shard 1: CPU 90 %, memory 25 %, 48,210/s',
    ]);
    const notes = ['debit: cooling down for another 1 s'];
    expect(renderPlan({ dry_run: true, actions: [action], notes }).split('\n')).toEqual([
      'a new shard is made in pool credit: shard 1 is at 90 %',
      ...notes,
    ]);
    expect(renderPlan({ dry_run: true, actions: [], notes: [] })).toBe('nothing to do');
  });
});
