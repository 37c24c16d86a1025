import {
  describeError,
  EXIT,
  isClean,
  parseTimestamp,
  renderBalances,
  renderFindings,
  renderImportReport,
  renderRepair,
  renderSchema,
  renderShards,
  renderTopology,
  renderVerification,
  showText,
  showTimestamp,
} from '@spill/cli';
import { DataTableUnavailableError, OperatorActionError, SpillError } from '@spill/core';
import { SettingsError, type TopologyReply } from '@spill/node';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { runs } from '../support/property-runs.js';

const SHARD = { node: 'node-a', assignment: 3, state: 'open', replicas: 1, log_id: '0'.repeat(32) } as const;
const TOPOLOGY: TopologyReply = {
  epoch: 7,
  hash: 'xxh64',
  slot_count: 1024,
  large_threshold: '1000000',
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

describe('the picture of a topology', () => {
  test('says who owns what, what moves and what is wrong', () => {
    expect(renderTopology(TOPOLOGY)).toBe(
      [
        'Epoch 7: 2 nodes, 4 shards. Amounts of 1,000,000 minor units and more go to the pool "large".',
        '',
        '           slot 0                                                      1023',
        '  credit   ├────────────── 1 ──────────────┼───────────── 4 ──────────────┤',
        '  debit    ├───────────────────────────── 2 ──────────────────────────────┤',
        '  large    ├───────────────────────────── 3 ──────────────────────────────┤',
        '',
        'Node node-a (disk=fast)',
        '  shard  pool    state    slots  owns    replicas  assignment',
        '      1  credit  open       512  0-511          1           3',
        '      2  debit   damaged   1024  0-1023         1           3',
        '',
        'Node node-b',
        '  shard  pool    state                slots  owns      replicas  assignment',
        '      3  large   open, folding again   1024  0-1023           1           3',
        '      4  credit  open                   512  512-1023         1           3',
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

  test('has bars of one width, however the slots are divided', () => {
    const cuts = fc.uniqueArray(fc.integer({ min: 1, max: 1023 }), { maxLength: 200 });
    fc.assert(
      fc.property(cuts, (unsorted) => {
        const edges = [0, ...unsorted.sort((a, b) => a - b), 1024];
        const credit = edges.slice(1).map((to, i) => ({ from: edges[i] as number, to, shard: i + 1 }));
        const lines = renderTopology({ ...TOPOLOGY, owners: { ...TOPOLOGY.owners, credit } }).split('\n');
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

test('balances stand under their heads', () => {
  const big = 2n ** 100n;
  expect(
    renderBalances([
      { account: 'x', balance: big + 3n, row: big, setAside: 1n, pending: 2n },
      { account: 'none', balance: 0n, row: null, setAside: 0n, pending: 0n },
    ]).split('\n'),
  ).toEqual([
    'account                          balance                            = row  + set aside  + pending',
    'x        1267650600228229401496703205379  1267650600228229401496703205376            1          2',
    'none                                   0                                -            0          0',
  ]);
});

test('what others wrote can not command the terminal', () => {
  expect(showText('a\u001b[31mb\u009bc\u202ed')).toBe('a\\u{1b}[31mb\\u{9b}c\\u{202e}d');
  const report = { rows: 1, stored: 0, duplicate: 0, applied: 0, rejected: 1, resumed: 0 };
  const rejects = [{ line: 2, id: '\u001b]0;x\u0007', code: 'expired', message: 'too\nold' }];
  const text = renderImportReport('rows.csv', { ...report, rejects }, 1);
  expect(text).not.toMatch(/[\u0000-\u0009\u000b-\u001f]/);
  expect(text.split('\n').at(-1)).toBe('   2  \\u{1b}]0;x\\u{7}  expired  too\\u{a}old');
});

test('what the doctor found stands a line each, with the verdict last', () => {
  const findings = [
    { check: 'nats', severity: 'ok', message: 'nats-server 2.14.9' },
    { check: 'database', severity: 'warn', message: 'for trying out' },
    { check: 'shard 3', severity: 'error', message: 'record\u001b 17 is missing' },
  ] as const;
  expect(renderFindings(findings).split('\n')).toEqual([
    '       looked at  found',
    'ok     nats       nats-server 2.14.9',
    'warn   database   for trying out',
    'error  shard 3    record\\u{1b} 17 is missing',
    '',
    '1 error, 1 warning',
  ]);
  expect(renderFindings(findings.slice(0, 1))).toMatch(/all is well$/);
});

describe('a repair', () => {
  const report = {
    shard: 2,
    repaired: false,
    reason: 'record 18 is missing',
    former_log_id: 'a'.repeat(32),
    log_id: null,
    kept: { from: 5, to: 17, transactions: 1_234 },
    folded_up_to: 9,
    lost: [
      { from: 18, to: 20, transactions: 12, sum: '-550', why: 'records 18 to 20 were acknowledged' },
      { from: 21, to: 21, transactions: null, sum: null, why: 'record 21 is gone' },
    ],
    summary: '',
  };

  test('that was not accepted yet says what it would lose and how to go on', () => {
    expect(renderRepair(report)).toBe(
      [
        'shard 2 was damaged: record 18 is missing',
        `log ${'a'.repeat(32)} keeps records 5 to 17, with 1,234 transactions; it was folded up to record 9`,
        'lost:',
        '  records 18 to 20 were acknowledged: 12 transactions, -550 in all',
        '  record 21 is gone: nobody knows how many transactions',
        '',
        'nothing was changed; to go on without that: spill repair 2 --accept-loss --why "..."',
      ].join('\n'),
    );
  });

  test('that was carried out names the new log', () => {
    const logId = 'b'.repeat(32);
    const text = renderRepair({
      ...report,
      repaired: true,
      log_id: logId,
      lost: [],
      kept: { from: 1, to: 0, transactions: 0 },
    });
    expect(text).toContain('keeps no record');
    expect(text).toContain('nothing that anybody remembers is lost');
    expect(text.split('\n').at(-1)).toBe(`repaired: the log goes on as ${logId}, and what was lost is on record`);
  });
});

test('a schema is a script for psql', () => {
  const text = renderSchema([
    { sql: 'CREATE SCHEMA spill', why: 'its own\ntables' },
    { sql: 'GRANT USAGE ON SCHEMA spill TO app;', why: 'to use them' },
  ]);
  expect(text).toBe(
    '-- its own\n-- tables\nCREATE SCHEMA spill;\n\n-- to use them\nGRANT USAGE ON SCHEMA spill TO app;\n',
  );
});

describe('a verification', () => {
  const none = { lost: [], duplicated: [], mismatched: [], damaged: [], conflicts: [], drift: [] };
  const clean = {
    checked: 12_942,
    accounts: 14,
    pending: 0,
    ...{ lost: 0, duplicated: 0, mismatched: 0, damaged: 0, conflicts: 0, drift: 0 },
    examples: none,
    accepted_losses: [],
  };

  test('that found nothing', () => {
    expect(isClean(clean, true)).toBe(true);
    expect(renderVerification(clean, false)).toBe(
      'nothing lost, nothing twice: 12,942 transactions of 14 accounts checked, 0 not folded yet',
    );
  });

  test.each(['lost', 'duplicated', 'mismatched', 'damaged', 'conflicts'] as const)('that found %s', (kind) => {
    const findings = Array.from({ length: 20 }, (_, i) => ({ message: `finding ${i}` }));
    const reply = { ...clean, [kind]: 2_000, examples: { ...none, [kind]: findings } };
    expect(isClean(reply, false)).toBe(false);
    const lines = renderVerification(reply, false).split('\n');
    expect(lines[0]).toMatch(new RegExp(`^2,000 ${kind}: `));
    expect(lines.slice(1, 3)).toEqual(['    finding 0', '    finding 1']);
    expect(lines.slice(-2)[0]).toBe('    and more: --json has the first 20');
    expect(lines.at(-1)).toMatch(/^something is wrong: /);
  });

  test('an accepted loss is told and is no finding', () => {
    const reply = { ...clean, accepted_losses: [{ shard: 2, lost: 'record 17', who: 'ann', why: 'disk died' }] };
    expect(isClean(reply, true)).toBe(true);
    expect(renderVerification(reply, true)).toContain('shard 2 lost record 17, accepted by ann: disk died');
  });

  test('drift is an error only where nothing else may change the rows', () => {
    expect([isClean({ ...clean, drift: 1 }, false), isClean({ ...clean, drift: 1 }, true)]).toEqual([true, false]);
  });
});

test('times are read as they are shown, to the microsecond', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 8_000_000_000_000_000 }), (microseconds) => {
      expect(parseTimestamp(showTimestamp(microseconds))).toBe(microseconds);
      expect(parseTimestamp(String(microseconds))).toBe(microseconds);
    }),
    runs(500),
  );
});

test.each([
  [new SpillError('unavailable', 'x'), EXIT.unavailable, 'unavailable'],
  [new SpillError('overloaded', 'x'), EXIT.unavailable, 'overloaded'],
  [new SpillError('timeout', 'x'), EXIT.unavailable, 'timeout'],
  [new SpillError('id_conflict', 'x'), EXIT.refused, 'id_conflict'],
  [new SpillError('not_found', 'x'), EXIT.refused, 'not_found'],
  [new DataTableUnavailableError('x'), EXIT.unavailable, 'unavailable'],
  [new OperatorActionError('conflict', 'x'), EXIT.refused, 'conflict'],
  [new SettingsError(['x']), EXIT.usage, 'usage'],
  [new TypeError('a bug'), EXIT.refused, 'internal'],
])('%s has its exit code', (error, exitCode, code) => {
  expect(describeError(error)).toMatchObject({ exitCode, code });
});
