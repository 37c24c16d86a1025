import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import * as v from 'valibot';
import { SETTING_DEFINITIONS } from './setting-definitions.js';
import type { Settings } from './settings.js';
import { SettingsError } from './settings-error.js';
import { showDuration, showSize } from './value-schemas.js';

export type SettingKey = keyof typeof SETTING_DEFINITIONS;

export interface SettingSources {
  /** By key (`data_dir`), as the command line's parser returns them; undefined: not given. */
  readonly flags?: Readonly<Partial<Record<SettingKey, unknown>>>;
  /** A JSON file; also named by `SPILL_CONFIG`. */
  readonly configFile?: string | undefined;
  readonly env?: NodeJS.ProcessEnv;
  /** Relative paths are relative to this, wherever they were read. */
  readonly cwd?: string;
}

export interface ReadSettings {
  readonly settings: Settings;
  /** What was said somewhere; the rest are defaults. */
  readonly given: ReadonlySet<SettingKey>;
  /** A sentence each, to be shown. */
  readonly warnings: readonly string[];
}

interface Given {
  readonly value: unknown;
  /** Completes "is 5 (…)". */
  readonly from: string;
}

type ValueOf<D> = D extends { schema: v.GenericSchema<unknown, infer T>; default: infer N }
  ? T | (null extends N ? null : never)
  : never;
type Values = { [K in SettingKey]: ValueOf<(typeof SETTING_DEFINITIONS)[K]> };

/** Environment variables that are spill's but no settings. */
const OTHER_VARIABLES = new Set(['SPILL_CONFIG', 'SPILL_NATS_SERVER']);

/** The name of a setting's flag without the dashes: `nats-port`. */
export function flagOf(key: SettingKey): string {
  const definition: { readonly flag?: string } = SETTING_DEFINITIONS[key];
  return definition.flag ?? key.replaceAll('_', '-');
}

export function settingKeys(): SettingKey[] {
  return Object.keys(SETTING_DEFINITIONS) as SettingKey[];
}

/**
 * One settings object from defaults < configuration file < environment < flags. An empty environment variable counts
 * as not set.
 *
 * @throws SettingsError with every problem at once.
 */
export function readSettings(sources: SettingSources): ReadSettings {
  const env = sources.env ?? process.env;
  const cwd = sources.cwd ?? process.cwd();
  const problems: string[] = [];
  const warnings: string[] = [];

  const configFile = sources.configFile ?? (env.SPILL_CONFIG || undefined);
  const file = configFile === undefined ? {} : readConfigFile(resolve(cwd, configFile), problems);
  const given = new Map<SettingKey, Given>();
  for (const key of settingKeys()) {
    const fromEnv = env[variableOf(key)];
    const flag = sources.flags?.[key];
    if (flag !== undefined) given.set(key, { value: flag, from: `--${flagOf(key)}` });
    else if (fromEnv) given.set(key, { value: fromEnv, from: variableOf(key) });
    else if (Object.hasOwn(file, key)) given.set(key, { value: file[key], from: configFile as string });
  }
  warnings.push(...strangeVariables(env));

  const values: Partial<Record<SettingKey, unknown>> = {};
  for (const key of settingKeys()) {
    const here = given.get(key);
    if (!here) {
      values[key] = SETTING_DEFINITIONS[key].default;
      continue;
    }
    const result = v.safeParse(SETTING_DEFINITIONS[key].schema as v.GenericSchema<unknown, unknown>, here.value);
    if (result.success) values[key] = result.output;
    else problems.push(`${sentence(key, here)} ${result.issues[0].message}`);
  }
  if (problems.length > 0) throw new SettingsError(problems);

  const complete = values as Values;
  problems.push(...contradictions(complete, given));
  if (problems.length > 0) throw new SettingsError(problems);
  return { settings: toSettings(complete, cwd), given: new Set(given.keys()), warnings };
}

function variableOf(key: SettingKey): string {
  return `SPILL_${key.toUpperCase()}`;
}

/** `dedupe_window is "10" (--dedupe-window):`, the login in a URL left out. */
function sentence(key: SettingKey, given: Given): string {
  const { secret }: { readonly secret?: boolean } = SETTING_DEFINITIONS[key];
  if (secret) return `${key} is *** (${given.from}):`;
  const value = JSON.stringify(given.value, (_, part) => (typeof part === 'bigint' ? String(part) : part));
  const shown = value.length > 120 ? `${value.slice(0, 117)}...` : value;
  return `${key} is ${shown.replace(/:\/\/[^/@\s"]*@/g, '://***@')} (${given.from}):`;
}

function readConfigFile(path: string, problems: string[]): Readonly<Record<string, unknown>> {
  let parsed: unknown;
  try {
    parsed = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    const why = error instanceof SyntaxError ? `no valid JSON: ${error.message}` : (error as Error).message;
    throw new SettingsError([
      `config is ${JSON.stringify(path)}: ${why}; name a JSON file such as {"table": "accounts"}`,
    ]);
  }
  if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
    throw new SettingsError([
      `config is ${JSON.stringify(path)}: must hold one JSON object, such as {"table": "accounts"}`,
    ]);
  }
  for (const key of Object.keys(parsed)) {
    if (Object.hasOwn(SETTING_DEFINITIONS, key)) continue;
    problems.push(`${JSON.stringify(key)} (${path}): no such setting; ${didYouMean(key)}`);
  }
  return parsed as Record<string, unknown>;
}

/** Unknown variables are only warned of: other tools may have some with the same beginning. */
function strangeVariables(env: NodeJS.ProcessEnv): string[] {
  const known = new Set([...settingKeys().map(variableOf), ...OTHER_VARIABLES]);
  return Object.keys(env)
    .filter((name) => name.startsWith('SPILL_') && !known.has(name))
    .map((name) => `${name} is set but is no setting; ${didYouMean(name.slice('SPILL_'.length).toLowerCase())}`);
}

function didYouMean(key: string): string {
  const near = settingKeys()
    .map((known) => ({ known, distance: editDistance(key.toLowerCase().replaceAll('-', '_'), known) }))
    .sort((a, b) => a.distance - b.distance)[0]!;
  return near.distance <= 3 ? `did you mean ${near.known}?` : 'see "spill-node start --help" for all of them';
}

function editDistance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const next = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = row[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      next.push(Math.min(change, row[j]! + 1, next[j - 1]! + 1));
    }
    row = next;
  }
  return row[b.length]!;
}

/** What is fine by itself and wrong together. */
function contradictions(values: Values, given: ReadonlyMap<SettingKey, Given>): string[] {
  const problems: string[] = [];
  const say = (key: SettingKey, message: string): void => {
    const here = given.get(key) ?? { value: values[key], from: 'the default' };
    problems.push(`${sentence(key, here)} ${message}`);
  };
  if (values.nats !== null && given.has('nats_port')) {
    say(
      'nats_port',
      `the embedded server is not started where nats names one (${given.get('nats')?.from}); give only one`,
    );
  }
  for (const key of ['listen', 'cluster', 'join', 'cluster_port', 'cluster_secret'] as const) {
    if (values.nats !== null && given.has(key)) {
      say(key, `is for the embedded server, which is not started where nats names one (${given.get('nats')?.from})`);
    } else if (values.cluster === null && key !== 'listen' && given.has(key)) {
      say(key, 'is for a cluster of embedded servers: name that with cluster, the same on each machine');
    }
  }
  if (values.cluster !== null && values.database_url === null) {
    say('cluster', "the embedded database is one machine's own; name the cluster's PostgreSQL with database_url");
  }
  if (values.nats === null && given.has('nats_monitor')) {
    say('nats_monitor', 'is for an external server only; name that with nats, or leave this out');
  }
  if (values.nats === null && values.accept_unverified_sync) {
    say('accept_unverified_sync', 'is for an external server only; name that with nats, or leave this out');
  }
  if (values.dedupe_window_min > values.dedupe_window) {
    say('dedupe_window_min', `must not be above dedupe_window, which is ${showDuration(values.dedupe_window)}`);
  }
  if (values.shard_shrink_threshold >= values.shard_growth_threshold) {
    say('shard_shrink_threshold', `must be below shard_growth_threshold, which is ${values.shard_growth_threshold}`);
  }
  if (values.record_bytes_max > values.pending_bytes_max) {
    say('record_bytes_max', `must not be above pending_bytes_max, which is ${showSize(values.pending_bytes_max)}`);
  }
  if (values.balance_type === 'int8' && values.minor_units > 0) {
    say('minor_units', 'an int8 balance is in minor units already; set 0, or balance_type "numeric"');
  }
  if (values.id_column.toLowerCase() === values.balance_column.toLowerCase()) {
    say('balance_column', 'must be another column than id_column');
  }
  return problems;
}

function toSettings(values: Values, cwd: string): Settings {
  return {
    nodeName: values.node_name,
    prefix: values.prefix,
    dataDir: resolve(cwd, values.data_dir),
    nats: values.nats,
    natsPort: values.nats_port,
    listen: values.listen ?? (values.cluster === null ? '127.0.0.1' : '0.0.0.0'),
    cluster:
      values.cluster === null
        ? null
        : { name: values.cluster, port: values.cluster_port, join: values.join, secret: values.cluster_secret },
    natsMonitor: values.nats_monitor,
    acceptUnverifiedSync: values.accept_unverified_sync,
    databaseUrl: values.database_url,
    applySchema: values.apply_schema,
    mapping: {
      table: values.table,
      idColumn: values.id_column,
      idType: values.id_type,
      balanceColumn: values.balance_column,
      balanceType: values.balance_type,
      minorUnits: values.minor_units,
      createAccounts: values.create_accounts,
    },
    shardCount: values.shard_count,
    largeThreshold: values.large_threshold,
    replicationFactor: values.replication_factor,
    labels: values.labels,
    poolLabels: values.pool_labels,
    jsonLogs: values.json_logs,
    tuning: {
      recordBytesMax: values.record_bytes_max,
      pendingBytesMax: values.pending_bytes_max,
      idsMax: values.ids_max,
      dedupeWindowMs: values.dedupe_window,
      dedupeWindowMinMs: values.dedupe_window_min,
      maxClockSkewMs: values.max_clock_skew,
      logRetentionMs: values.log_retention,
      logRetentionBytes: values.log_retention_bytes,
      foldAgeMs: values.fold_age,
      foldCount: values.fold_count,
      directAfterMs: values.direct_after_ms,
      maxPauseMs: values.max_pause_ms,
      coolDownMs: values.cool_down,
      leaseTtlMs: values.lease_ttl,
      nodeSilenceMs: values.node_silence,
      heartbeatMs: values.heartbeat,
      shardGrowthThreshold: values.shard_growth_threshold,
      shardShrinkThreshold: values.shard_shrink_threshold,
    },
  };
}
