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
  renderVerification,
  showText,
  showTimestamp,
} from '@spill/cli';
import { DataTableUnavailableError, OperatorActionError, SpillError } from '@spill/core';
import { SettingsError } from '@spill/node';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { runs } from '../support/property-runs.js';

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
    new_ledger: null,
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
    ok: true,
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

  test.each(['lost', 'duplicated', 'mismatched', 'damaged'] as const)('that found %s', (kind) => {
    const findings = Array.from({ length: 20 }, (_, i) => ({ message: `finding ${i}` }));
    const reply = { ...clean, ok: false, [kind]: 2_000, examples: { ...none, [kind]: findings } };
    expect(isClean(reply, false)).toBe(false);
    const lines = renderVerification(reply, false).split('\n');
    expect(lines[0]).toMatch(new RegExp(`^2,000 ${kind}: `));
    expect(lines.slice(1, 3)).toEqual(['    finding 0', '    finding 1']);
    expect(lines.slice(-2)[0]).toBe('    and more: --json has the first 20');
    expect(lines.at(-1)).toMatch(/^something is wrong: /);
  });

  test('open conflicts are told and are no finding', () => {
    const reply = { ...clean, conflicts: 1, examples: { ...none, conflicts: [{ message: 'order-1' }] } };
    expect(isClean(reply, true)).toBe(true);
    const lines = renderVerification(reply, true).split('\n');
    expect(lines[0]).toMatch(/^1 conflict: .*spill conflicts list/);
    expect(lines.slice(1)).toEqual(['    order-1', expect.stringMatching(/^nothing lost, nothing twice: /)]);
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
