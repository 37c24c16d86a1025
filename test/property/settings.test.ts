import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { readSettings, type SettingSources, SettingsError } from '@spill/node';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'spill-settings-'));
});
afterAll(() => rmSync(folder, { recursive: true, force: true }));

function file(content: unknown): string {
  const path = join(folder, `${Math.random()}.json`);
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
  return path;
}

function read(sources: SettingSources) {
  return readSettings({ env: {}, cwd: '/somewhere', ...sources });
}

function problems(sources: SettingSources): readonly string[] {
  try {
    read(sources);
  } catch (error) {
    if (error instanceof SettingsError) return error.problems;
    throw error;
  }
  return [];
}

test('defaults: everything embedded, accounts(id text, balance bigint)', () => {
  const { settings, warnings } = read({});
  expect(warnings).toEqual([]);
  expect(settings).toMatchObject({
    dataDir: '/somewhere/.spill',
    nats: null,
    natsPort: 4222,
    databaseUrl: null,
    prefix: 'spill',
    shardCount: null,
    largeThreshold: null,
    mapping: {
      table: 'accounts',
      idColumn: 'id',
      idType: 'text',
      balanceColumn: 'balance',
      balanceType: 'int8',
      minorUnits: 0,
      createAccounts: false,
    },
    tuning: {
      dedupeWindowMs: 600_000,
      dedupeWindowMinMs: 15_000,
      maxClockSkewMs: 60_000,
      idsMax: 20_000_000,
      pendingBytesMax: 2 ** 30,
      recordBytesMax: 2 ** 19,
      logRetentionMs: 86_400_000,
      logRetentionBytes: null,
      foldAgeMs: 200,
      foldCount: 10_000,
      directAfterMs: 1_000,
      maxPauseMs: 100,
    },
  });
});

test('a flag goes before the environment, that before the file, that before the default', () => {
  const configFile = file({ nats_port: 1, prefix: 'from-file', table: 'bank.rows', fold_count: 7 });
  const env = { SPILL_NATS_PORT: '2', SPILL_PREFIX: 'from-env', SPILL_ID_TYPE: '' };
  const { settings } = read({ configFile, env, flags: { nats_port: '3' } });
  expect(settings.natsPort).toBe(3);
  expect(settings.prefix).toBe('from-env');
  expect(settings.mapping.table).toBe('bank.rows');
  expect(settings.mapping.idType).toBe('text');
  expect(settings.tuning.foldCount).toBe(7);
  expect(read({ env: { SPILL_CONFIG: configFile } }).settings.prefix).toBe('from-file');
});

test('only SPILL_NATS makes the server external, never a stray NATS_URL', () => {
  expect(read({ env: { NATS_URL: 'nats://elsewhere:4222', NATS_SERVER: 'x' } }).settings.nats).toBeNull();
  expect(read({ env: { SPILL_NATS: 'nats://a:4222, nats://b:4222' } }).settings.nats).toBe(
    'nats://a:4222,nats://b:4222',
  );
});

describe('units', () => {
  const durations: [unknown, number][] = [
    ['10 min', 600_000],
    ['10min', 600_000],
    ['90s', 90_000],
    ['1.5 h', 5_400_000],
    ['1 d', 86_400_000],
    ['20000 ms', 20_000],
  ];
  for (const [given, ms] of durations) {
    test(`${given} is ${ms} ms`, () => {
      expect(read({ configFile: file({ dedupe_window: given }) }).settings.tuning.dedupeWindowMs).toBe(ms);
    });
  }
  const sizes: [unknown, number][] = [
    ['512 KiB', 524_288],
    ['1MiB', 1_048_576],
    ['64 kb', 64_000],
    [65_536, 65_536],
    ['65536', 65_536],
  ];
  for (const [given, bytes] of sizes) {
    test(`${given} is ${bytes} bytes`, () => {
      expect(read({ configFile: file({ record_bytes_max: given }) }).settings.tuning.recordBytesMax).toBe(bytes);
    });
  }
  test('a key that ends with _ms takes bare milliseconds', () => {
    expect(read({ flags: { direct_after_ms: '250' } }).settings.tuning.directAfterMs).toBe(250);
  });
});

/** Each: where it stands, and the one line that is shown. */
const BAD: [string, SettingSources, string][] = [
  [
    'port out of range',
    { flags: { nats_port: '70000' } },
    'nats_port is "70000" (--nats-port): must be a whole number from 0 to 65535, such as 4222',
  ],
  [
    'port with letters',
    { env: { SPILL_NATS_PORT: '42x' } },
    'nats_port is "42x" (SPILL_NATS_PORT): must be a whole number from 0 to 65535, such as 4222',
  ],
  [
    'too few shards',
    { flags: { shard_count: '2' } },
    'shard_count is "2" (--shards): must be a whole number from 3 to 1000, such as 3',
  ],
  [
    'threshold zero',
    { flags: { large_threshold: '0' } },
    'large_threshold is "0" (--large-threshold): must be a whole number of minor units from 1 to ' +
      '9223372036854775807, such as 1000000',
  ],
  [
    'threshold beyond int64',
    { flags: { large_threshold: '9223372036854775808' } },
    'large_threshold is "9223372036854775808" (--large-threshold): must be a whole number of minor units from 1 to ' +
      '9223372036854775807, such as 1000000',
  ],
  [
    'threshold with a fraction',
    { flags: { large_threshold: '80000.5' } },
    'large_threshold is "80000.5" (--large-threshold): must be a whole number of minor units from 1 to ' +
      '9223372036854775807, such as 1000000',
  ],
  [
    'a database that is none, without its login',
    { flags: { database_url: 'mysql://joe:secret@db/bank' } },
    'database_url is "mysql://***@db/bank" (--database-url): must be a URL that begins with postgres:// or ' +
      'postgresql://, such as postgres://user@localhost/bank',
  ],
  [
    'a server without a protocol',
    { env: { SPILL_NATS: 'localhost:4222' } },
    'nats is "localhost:4222" (SPILL_NATS): must be a URL that begins with nats:// or tls:// or ws:// or wss://, ' +
      'such as nats://127.0.0.1:4222',
  ],
  [
    'a duration without a unit',
    { flags: { dedupe_window: '600' } },
    'dedupe_window is "600" (--dedupe-window): must say its unit (ms, s, min, h, d), such as "600 s"',
  ],
  [
    'a duration out of range',
    { flags: { dedupe_window: '1 s' } },
    'dedupe_window is "1 s" (--dedupe-window): must be a duration from 15 s to 30 d, such as "10 min"',
  ],
  [
    'a size out of range',
    { flags: { record_bytes_max: '1 GiB' } },
    'record_bytes_max is "1 GiB" (--record-bytes-max): must be a size from 4 KiB to 8 MiB, such as "512 KiB"',
  ],
  [
    'an unknown column type',
    { env: { SPILL_ID_TYPE: 'bytea' } },
    'id_type is "bytea" (SPILL_ID_TYPE): must be one of text, varchar, int4, int8, uuid',
  ],
  [
    'a table name that would need quoting',
    { flags: { table: 'accounts; drop table x' } },
    'table is "accounts; drop table x" (--table): must be a table name, with its schema or without, such as accounts ' +
      'or bank.accounts',
  ],
  [
    'a prefix in upper case',
    { flags: { prefix: 'Spill' } },
    'prefix is "Spill" (--prefix): must be 1 to 32 of a-z, 0-9 and -, beginning with a letter, such as spill',
  ],
  [
    'neither true nor false',
    { env: { SPILL_CREATE_ACCOUNTS: 'maybe' } },
    'create_accounts is "maybe" (SPILL_CREATE_ACCOUNTS): must be true or false',
  ],
  [
    'an even number of copies',
    { flags: { replication_factor: '2' } },
    'replication_factor is "2" (--replicas): must be one of 1, 3, 5',
  ],
  [
    'a fraction above 1',
    { flags: { shard_growth_threshold: '70' } },
    'shard_growth_threshold is "70" (--shard-growth-threshold): must be a fraction above 0, at most 1, such as 0.7',
  ],
  [
    'decimal places of an integer column',
    { flags: { minor_units: '2' } },
    'minor_units is "2" (--minor-units): an int8 balance is in minor units already; set 0, or balance_type "numeric"',
  ],
  [
    'a smaller window than its minimum',
    { flags: { dedupe_window: '15 s', dedupe_window_min: '20 s' } },
    'dedupe_window_min is "20 s" (--dedupe-window-min): must not be above dedupe_window, which is 15 s',
  ],
  [
    'thresholds the wrong way round',
    { flags: { shard_growth_threshold: '0.1' } },
    'shard_shrink_threshold is 0.2 (the default): must be below shard_growth_threshold, which is 0.1',
  ],
  [
    'a port of the embedded server beside an external one',
    { flags: { nats: 'nats://a:4222', nats_port: '4223' } },
    'nats_port is "4223" (--nats-port): the embedded server is not started where nats names one (--nats); give only one',
  ],
  [
    'accepting unverified sync of the embedded server',
    { flags: { accept_unverified_sync: true } },
    'accept_unverified_sync is true (--accept-unverified-sync): is for an external server only; name that with nats, ' +
      'or leave this out',
  ],
];

describe('every error names key, value, place and the way out', () => {
  for (const [name, sources, message] of BAD) {
    test(name, () => {
      expect(problems(sources)).toEqual([message]);
    });
  }

  test('all problems at once', () => {
    expect(problems({ flags: { nats_port: 'x', prefix: 'X' }, env: { SPILL_ID_TYPE: 'y' } })).toHaveLength(3);
  });

  test('unknown keys in a file are refused, with the nearest name', () => {
    const configFile = file({ dedupe_windw: '10 min' });
    expect(problems({ configFile })).toEqual([
      `"dedupe_windw" (${configFile}): no such setting; did you mean dedupe_window?`,
    ]);
  });

  test('unknown variables are warned of', () => {
    expect(read({ env: { SPILL_NATS_PROT: '1', SPILL_NATS_SERVER: '/bin/x' } }).warnings).toEqual([
      'SPILL_NATS_PROT is set but is no setting; did you mean nats_port?',
    ]);
  });

  test('a file that is missing, no JSON, or no object', () => {
    expect(problems({ configFile: '/nowhere.json' })[0]).toMatch(
      /^config is "\/nowhere.json": ENOENT.*name a JSON file/,
    );
    expect(problems({ configFile: file('{"table": ') })[0]).toMatch(/no valid JSON/);
    expect(problems({ configFile: file([1]) })[0]).toMatch(/must hold one JSON object/);
  });
});

test('a secret is checked, and never shown', () => {
  const cluster = { cluster: 'bank', database_url: 'postgres://db/bank' };
  const secret = 'b1946ac92492d2347c6235b4d2611184';
  expect(read({ flags: cluster, env: { SPILL_CLUSTER_SECRET: secret } }).settings.cluster).toMatchObject({ secret });
  expect(read({ flags: cluster }).settings.cluster).toMatchObject({ secret: null });
  expect(problems({ flags: cluster, env: { SPILL_CLUSTER_SECRET: 'hunter2' } })).toEqual([
    expect.stringMatching(/^cluster_secret is \*\*\* \(SPILL_CLUSTER_SECRET\): must be 16 to 128 letters/),
  ]);
  const alone = problems({ env: { SPILL_CLUSTER_SECRET: secret } });
  expect(alone).toEqual([expect.stringMatching(/^cluster_secret is \*\*\* .*is for a cluster of embedded servers/)]);
});
