import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { runSpill } from '../support/spill-cli.js';

const COMMANDS = [
  'submit',
  'import',
  'balance',
  'transactions',
  'topology',
  'shard list',
  'shard locate',
  'performance',
  'fold',
  'verify',
  'doctor',
  'repair',
  'set-aside list',
  'set-aside retry',
  'set-aside move',
  'set-aside write-off',
  'conflicts list',
  'conflicts resolve',
  'schema apply',
];

/** Port 1 is nobody's: refused at once. */
const NOBODY = ['--nats', 'nats://127.0.0.1:1'];

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'spill-cli-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

describe('help', () => {
  test('lists every command, and what the exit codes mean', async () => {
    const { code, stdout } = await runSpill(['--help']);
    expect(code).toBe(0);
    for (const command of COMMANDS) expect(stdout).toMatch(new RegExp(`^ {2}${command.split(' ')[0]} `, 'm'));
    expect(stdout).toMatch(/Exit codes:\n {2}0 {2}done\n {2}1 .*\n {2}2 .*\n {2}3 .*\n {2}4 /);
  });

  test.each(COMMANDS)('of %s has an example and --json', async (command) => {
    const { code, stdout } = await runSpill([...command.split(' '), '--help']);
    expect(code).toBe(0);
    expect(stdout).toMatch(new RegExp(`Examples?:\n {2}spill ${command} ?`));
    expect(stdout).toContain('--json');
  });
});

describe('the help of a group of commands', () => {
  test.each(['shard', 'set-aside', 'conflicts', 'schema'])('of %s has an example', async (group) => {
    const { code, stdout } = await runSpill([group, '--help']);
    expect(code).toBe(0);
    expect(stdout).toMatch(new RegExp(`Examples?:\\n {2}spill ${group} \\w`));
  });
});

describe('a command line that can not be used ends with 2 and says why, without a stack', () => {
  test.each([
    ['an unknown command', ['sumbit', 'x', '1'], "unknown command 'sumbit'"],
    ['an unknown option', ['topology', '--jsn'], "unknown option '--jsn'"],
    ['an argument missing', ['submit', 'x'], "missing required argument 'amount'"],
    ['an argument too many', ['submit', 'x', '1', '2'], 'too many arguments'],
    ['an amount that is none', ['submit', 'x', '1.5'], 'amount is "1.5": must be a decimal string'],
    ['an amount of 0', ['submit', 'x', '0'], 'amount is "0": must not be 0'],
    ['an empty account', ['balance', ''], 'account is "": must be 1 to 128 bytes'],
    ['an empty id', ['submit', 'x', '1', '--id', '', ...NOBODY], 'id is "": must be 1 to 64 bytes'],
    ['a time without zone', ['transactions', 'x', '--from', '2026-11-24T07:00'], '--from is "2026-11-24T07:00": must'],
    ['a timestamp that is none', ['submit', 'x', '1', '--timestamp', 'now'], '--timestamp is "now": must be'],
    ['a limit too high', ['transactions', 'x', '--limit', '1001'], '--limit is "1001": must be an integer from 1 to'],
    ['an unknown state', ['transactions', 'x', '--state', 'lost'], 'Allowed choices are all, pending, folded'],
    ['a shard that is none', ['shard', 'locate', '0'], 'shard is "0": must be an integer from 1 to'],
    ['a URL that is none', ['topology', '--nats', 'http://x'], '--nats is "http://x": must be a URL such as nats://'],
    ['a wait that is none', ['topology', '--timeout', '0'], '--timeout is "0": must be seconds'],
    ['a prefix that is none', ['topology', '--prefix', 'Spill'], 'prefix is "Spill" (--prefix): must be'],
    ['no configuration file', ['topology', '--config', '/none.json'], 'config is "/none.json"'],
    ['a database that is none', ['conflicts', 'list', '--database-url', 'mysql://x'], 'database_url is "mysql://x"'],
    ['no database', ['conflicts', 'list', '--data-dir', '/none'], 'no node with an embedded database'],
    ['no reason', ['set-aside', 'write-off', 'x', 'a'], "required option '--why <reason>' not specified"],
    ['an empty reason', ['set-aside', 'write-off', 'x', 'a', '--why', ' '], '--why is empty'],
    ['no account to retry', ['set-aside', 'retry'], 'name accounts, or say --all'],
    ['a monitor that is none', ['doctor', '--nats-monitor', 'nats://x'], '--nats-monitor is "nats://x": must be'],
    ['no reason for a loss', ['repair', '2', '--accept-loss'], '--why is empty'],
    ['a place that is none', ['conflicts', 'resolve', 'x', '--why', 'y'], 'place is "x": must be'],
    ['no file', ['import', 'none.csv'], 'none.csv does not exist'],
  ])('%s', async (_, args, said) => {
    const { code, stdout, stderr } = await runSpill(args);
    expect(stderr).toContain(said);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).not.toMatch(/^ {4}at /m);
  });

  test('with --json the error is JSON', async () => {
    for (const args of [
      ['submit', 'x'],
      ['submit', 'x', '0'],
      ['topology', '--nats', 'x:y'],
    ]) {
      const { code, stdout, stderr } = await runSpill([...args, '--json']);
      expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
      expect(JSON.parse(stderr)).toMatchObject({ error: { code: 'usage', retryable: false } });
    }
  });
});

describe('a cluster that is not there ends with 3', () => {
  test.each([
    ['submit', 'x', '1'],
    ['balance', 'x'],
    ['transactions', 'x'],
    ['topology'],
    ['shard', 'list'],
    ['fold'],
    ['verify'],
  ])('%s', async (...args) => {
    const { code, stdout, stderr } = await runSpill([...args, ...NOBODY]);
    expect({ code, stdout }).toEqual({ code: 3, stdout: '' });
    expect(stderr).toMatch(/^spill: no NATS server answers at nats:\/\/127.0.0.1:1 .*"spill-node start".*--nats\n$/);
  });

  test('found by NATS_URL, without its password in the message', async () => {
    const { code, stderr } = await runSpill(['topology', '--json'], { NATS_URL: 'nats://ann:secret@127.0.0.1:1' });
    expect(code).toBe(3);
    expect(JSON.parse(stderr)).toMatchObject({ error: { code: 'unavailable', retryable: true } });
    expect(stderr).not.toContain('secret');
  });

  test('a database that is not there', async () => {
    const url = 'postgres://ann:secret@127.0.0.1:1/bank';
    const { code, stderr } = await runSpill(['set-aside', 'list'], { SPILL_DATABASE_URL: url });
    expect(code).toBe(3);
    expect(stderr).toMatch(/^spill: the database does not answer: /);
    expect(stderr).not.toMatch(/secret|^ {4}at /m);
  });
});

describe('a CSV file of the wrong form ends with 2, names the line, and nothing is sent or left behind', () => {
  test.each([
    ['no header', 'o-1,x,5\n', /line 1: no header/],
    ['a column too few', 'id,account,amount\r\no-1,x,5\r\n\r\no-2,x\r\n', /line 4: 2 columns, the header has 3/],
    ['a quote left open', 'id,account,amount\no-1,"x,5\n', /line 2: Quote Not Closed/],
    ['nothing in it', '', /is empty/],
  ])('%s', async (_, content, said) => {
    const path = join(folder, 'rows.csv');
    writeFileSync(path, content);
    const { code, stdout, stderr } = await runSpill(['import', path, ...NOBODY]);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(said);
    expect(readdirSync(folder)).toEqual(['rows.csv']);
  });
});
