#!/usr/bin/env node
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Command, Option } from 'commander';
import { flagOf, readSettings, type SettingKey, settingKeys } from '../config/read-settings.js';
import { SETTING_DEFINITIONS, SETTING_GROUPS, type SettingDefinition } from '../config/setting-definitions.js';
import { SettingsError } from '../config/settings-error.js';
import { readEmbeddedServerFile } from '../nats/embedded-server-file.js';
import { NatsServerError } from '../nats/nats-server-error.js';
import { DataFolderTakenError } from './data-folder.js';
import { drainNode } from './drain-node.js';
import { StartError } from './start-error.js';
import { type RunningNode, startNode } from './start-node.js';

const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
  version: string;
};

/** Exit codes: 0 stopped cleanly, 1 something failed or had to be ended by force, 2 the configuration can't be used. */
const FAILED = 1;
const UNUSABLE = 2;

function startCommand(): Command {
  const command = new Command('start')
    .description('Start a node: an embedded nats-server (unless --nats), a router and the shards assigned to it.')
    .option('--config <file>', 'JSON file of settings, keys as in SPILL_<KEY> but in lower case (SPILL_CONFIG)')
    .addHelpText(
      'after',
      [
        '',
        'Every setting may also stand in the configuration file (`"nats_port": 4223`) or in the environment',
        '(`SPILL_NATS_PORT=4223`); a flag goes before the environment, and that before the file.',
        '',
        'Examples:',
        '  spill-node start                                   everything embedded, in ./.spill',
        '  spill-node start --nats-port 4223 --data-dir /tmp/spill --large-threshold 80000',
        '  spill-node start --database-url postgres://user@localhost/bank --table bank.accounts --apply-schema',
        '  spill-node start --cluster bank --join 10.0.0.6 10.0.0.7 --database-url postgres://user@10.0.0.9/bank',
        '  spill-node start --nats nats://10.0.0.5:4222 --nats-monitor http://10.0.0.5:8222',
      ].join('\n'),
    );
  for (const group of SETTING_GROUPS) {
    for (const key of settingKeys()) {
      const definition = SETTING_DEFINITIONS[key] as SettingDefinition<unknown, unknown>;
      if (definition.group === group) command.addOption(optionOf(key, definition).helpGroup(`${group}:`));
    }
  }
  return command.action(run);
}

function optionOf(key: SettingKey, definition: SettingDefinition<unknown, unknown>): Option {
  const value = definition.example === undefined ? '' : definition.several ? ' <value...>' : ' <value>';
  const text = definition.defaultText ?? String(definition.default);
  const notes = definition.example === undefined ? '' : ` (default: ${text}; such as ${definition.example})`;
  return new Option(`--${flagOf(key)}${value}`, `${definition.help}${notes}`);
}

/** Commander's camel-case names back to keys. Only what was given is there, since no option has a default. */
function flagsOf(options: Readonly<Record<string, unknown>>): Partial<Record<SettingKey, unknown>> {
  const flags: Partial<Record<SettingKey, unknown>> = {};
  for (const key of settingKeys()) {
    const name = flagOf(key).replace(/-(\w)/g, (_, letter: string) => letter.toUpperCase());
    if (options[name] !== undefined) flags[key] = options[name];
  }
  return flags;
}

async function run(options: Readonly<Record<string, unknown>>): Promise<void> {
  const { settings, warnings } = readSettings({
    flags: flagsOf(options),
    configFile: options.config as string | undefined,
  });
  for (const warning of warnings) process.stderr.write(`${warning}\n`);

  const stopAsked = new AbortController();
  let signals = 0;
  let node: RunningNode | null = null;
  let ending: Promise<void> | null = null;
  const onSignal = (name: NodeJS.Signals): void => {
    signals += 1;
    stopAsked.abort(new StartError(`stopped by ${name} while starting`));
    if (signals > 1) {
      process.stderr.write(`a second ${name}: everything is ended at once\n`);
      ending ??= (node?.end() ?? Promise.resolve()).finally(() => process.exit(FAILED));
    }
  };
  process.on('SIGTERM', onSignal);
  process.on('SIGINT', onSignal);
  process.on('SIGHUP', onSignal);
  // Whoever read them is gone; the log file goes on, and so does the node.
  process.stdout.on('error', () => {});
  process.stderr.on('error', () => {});
  const asked = new Promise<void>((resolve) => stopAsked.signal.addEventListener('abort', () => resolve()));

  try {
    node = await startNode(settings, { version, signal: stopAsked.signal });
  } catch (error) {
    if (error !== stopAsked.signal.reason) throw error;
    // Asked to stop while starting: what was started is stopped again.
    process.stderr.write(`spill-node: ${(error as Error).message}\n`);
    process.exit(0);
  }
  await Promise.race([node.ready, asked]);
  if (!stopAsked.signal.aborted) {
    const unverified = node.syncVerified ? '' : ' (sync unverified: acknowledged transactions may be lost)';
    process.stdout.write(`spill-node ready ${node.url}${unverified}\n`);
  }
  const replaced = await Promise.race([asked, node.replaced]);
  if (replaced) {
    process.stderr.write(`spill-node: ${replaced}: this one ends\n`);
    await node.end();
    process.exit(FAILED);
  }
  const clean = await node.stop();
  // Where everything is being ended at once, that exits when nothing is left.
  await ending;
  process.exit(clean ? 0 : FAILED);
}

const DRAIN_S_DEFAULT = '120';

function drainCommand(): Command {
  return new Command('drain')
    .addHelpText('after', '\nExample:\n  spill-node drain --node node-b --nats nats://10.0.0.5:4222')
    .description('Give the shards of a node to other nodes, so that it can be stopped. Its next start takes it back.')
    .option('--node <name>', 'the node; the one of --data-dir where left out')
    .option('--data-dir <folder>', 'folder of a node on this machine (SPILL_DATA_DIR)')
    .option('--nats <urls>', 'servers of the cluster; the embedded one of --data-dir where left out (SPILL_NATS)')
    .option('--prefix <prefix>', "beginning of the cluster's subjects (SPILL_PREFIX)")
    .option('--timeout <seconds>', 'how long to wait for the shards to be started elsewhere', DRAIN_S_DEFAULT)
    .action(async (options: { node?: string; dataDir?: string; nats?: string; prefix?: string; timeout: string }) => {
      const { settings } = readSettings({
        flags: { data_dir: options.dataDir, nats: options.nats, prefix: options.prefix },
      });
      const timeoutS = Number(options.timeout);
      if (!(timeoutS > 0)) throw new SettingsError([`timeout is ${options.timeout}: must be seconds, such as 120`]);
      const nats = settings.nats ?? embeddedUrl(settings.dataDir);
      const node = options.node ?? rememberedName(settings.dataDir);
      await drainNode({
        nats,
        node,
        prefix: settings.prefix,
        timeoutMs: timeoutS * 1_000,
        say: (message) => process.stdout.write(`${message}\n`),
      });
    });
}

/** @throws StartError */
function embeddedUrl(dataDir: string): string {
  const server = readEmbeddedServerFile(dataDir);
  if (server && server.port > 0) return server.url ?? `nats://127.0.0.1:${server.port}`;
  throw new StartError(`no embedded server runs in ${dataDir}: name a server of the cluster with --nats`);
}

/** @throws StartError */
function rememberedName(dataDir: string): string {
  try {
    return (JSON.parse(readFileSync(join(dataDir, 'node.json'), 'utf8')) as { nodeName: string }).nodeName;
  } catch (error) {
    throw new StartError(`there is no node in ${dataDir} (${(error as Error).message}): name it with --node`);
  }
}

const program = new Command('spill-node')
  .description('Processes of a spill cluster on this machine.')
  .version(version)
  .addCommand(startCommand())
  .addCommand(drainCommand());

try {
  await program.parseAsync();
} catch (error) {
  if (error instanceof SettingsError) {
    process.stderr.write(`${error.message}\n`);
    process.exit(UNUSABLE);
  }
  const expected =
    error instanceof StartError || error instanceof NatsServerError || error instanceof DataFolderTakenError;
  process.stderr.write(`spill-node: ${expected ? error.message : ((error as Error).stack ?? String(error))}\n`);
  process.exit(FAILED);
}
