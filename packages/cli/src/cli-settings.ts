import { readSettings, type SettingKey, type Settings, settingKeys } from '@spill/node';
import { usageError } from './cli-error.js';

/** Options as commander gives them, by their names in camel case. */
export type Options = Readonly<Record<string, unknown>>;

export interface CliSettings {
  /** URLs separated by commas. */
  readonly nats: string;
  /** How long to wait for an answer, milliseconds. */
  readonly timeoutMs: number;
  readonly settings: Settings;
  /** Settings that were said; the rest are defaults. */
  readonly given: ReadonlySet<SettingKey>;
  /** What in the environment looks like a setting and is none; a sentence each. */
  readonly warnings: readonly string[];
}

/** The settings that may be given as flags here: where things are, and the mapping. */
const FLAGS: readonly SettingKey[] = [
  'prefix',
  'data_dir',
  'database_url',
  'table',
  'id_column',
  'id_type',
  'balance_column',
  'balance_type',
  'minor_units',
  'create_accounts',
];

const NATS_PROTOCOLS = new Set(['nats:', 'tls:', 'ws:', 'wss:']);

/**
 * Where the cluster and the database are. The cluster: `--nats`, `NATS_URL`, the setting `nats`, or the default port
 * on this machine. All else is read as `spill-node` reads it.
 *
 * @throws SettingsError, or a usage error for an URL or a time that can't be used.
 */
export function readCliSettings(options: Options, defaultTimeoutMs: number): CliSettings {
  const flags = Object.fromEntries(
    settingKeys()
      .filter((key) => FLAGS.includes(key))
      .map((key) => [key, options[camelCase(key)]]),
  );
  const { settings, given, warnings } = readSettings({ flags, configFile: options.config as string | undefined });
  return { nats: natsUrl(options, settings), timeoutMs: timeout(options, defaultTimeoutMs), settings, given, warnings };
}

function natsUrl(options: Options, settings: Settings): string {
  if (options.nats !== undefined) return checkedUrl(String(options.nats), '--nats');
  if (process.env.NATS_URL) return checkedUrl(process.env.NATS_URL, 'NATS_URL');
  return settings.nats ?? `nats://127.0.0.1:${settings.natsPort || 4222}`;
}

function checkedUrl(given: string, from: string): string {
  const parts = given.split(',').map((part) => part.trim());
  // NATS's own clients take a bare host and port as well.
  const urls = parts.map((part) => (part.includes('://') ? part : `nats://${part}`));
  const good = urls.every((url) => URL.canParse(url) && NATS_PROTOCOLS.has(new URL(url).protocol));
  if (!good || parts.includes('')) {
    throw usageError(`${from} is ${JSON.stringify(given)}: must be a URL such as nats://127.0.0.1:4222`);
  }
  return urls.join(',');
}

function timeout(options: Options, defaultMs: number): number {
  if (options.timeout === undefined) return defaultMs;
  const seconds = Number(options.timeout);
  if (seconds > 0 && seconds <= 86_400) return Math.ceil(seconds * 1_000);
  throw usageError(`--timeout is ${JSON.stringify(options.timeout)}: must be seconds, from 0.001 to 86400, such as 30`);
}

export function camelCase(key: string): string {
  return key.replace(/[-_](\w)/g, (_, letter: string) => letter.toUpperCase());
}
