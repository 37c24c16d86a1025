import { flagOf, SETTING_DEFINITIONS, type SettingDefinition, type SettingKey } from '@spill/node';
import { type Command, Option } from 'commander';

const WHERE = 'Where things are:';
const TABLE = "The user's table:";

/** `--json`, which every command has, and an example under its help. */
export function withOutput(command: Command, ...examples: string[]): Command {
  return withExamples(
    command.option('--json', 'write the result as JSON on standard output, an error as JSON on standard error'),
    ...examples,
  );
}

/** Examples under the help of a command, or of a group of them. */
export function withExamples(command: Command, ...examples: string[]): Command {
  return command.addHelpText(
    'after',
    ['', examples.length > 1 ? 'Examples:' : 'Example:', ...examples.map(indent)].join('\n'),
  );
}

/** How to reach the cluster. */
export function withCluster(command: Command, timeoutSeconds: number): Command {
  command.addOption(
    new Option(
      '--nats <url>',
      'the cluster; several separated by commas (default: NATS_URL, else nats://127.0.0.1:4222)',
    ).helpGroup(WHERE),
  );
  command.addOption(
    new Option('--timeout <seconds>', `how long to wait (default: ${timeoutSeconds})`).helpGroup(WHERE),
  );
  return withConfig(command.addOption(settingOption('prefix')));
}

/** How to reach the data table's database. */
export function withDatabase(command: Command): Command {
  command.addOption(settingOption('database_url', 'the database of a node running in --data-dir'));
  command.addOption(settingOption('data_dir'));
  for (const key of ['table', 'id_column', 'id_type', 'balance_column', 'balance_type', 'minor_units'] as const) {
    command.addOption(settingOption(key));
  }
  return withConfig(command.addOption(settingOption('create_accounts')));
}

/** Who acts and why: kept in the database beside the action. */
export function withNote(command: Command): Command {
  return command
    .option('--who <name>', 'who decides this (default: $USER)')
    .requiredOption('--why <reason>', 'why; kept beside the action');
}

function withConfig(command: Command): Command {
  if (command.options.some((option) => option.long === '--config')) return command;
  return command.addOption(
    new Option('--config <file>', 'JSON file of settings, the same that spill-node takes (SPILL_CONFIG)').helpGroup(
      WHERE,
    ),
  );
}

function settingOption(key: SettingKey, defaultText?: string): Option {
  const definition = SETTING_DEFINITIONS[key] as SettingDefinition<unknown, unknown>;
  const value = definition.example === undefined ? '' : ' <value>';
  const text = defaultText ?? definition.defaultText ?? String(definition.default);
  const group = definition.group === "The user's table" ? TABLE : WHERE;
  return new Option(`--${flagOf(key)}${value}`, `${definition.help} (default: ${text})`).helpGroup(group);
}

function indent(line: string): string {
  return `  ${line}`;
}
