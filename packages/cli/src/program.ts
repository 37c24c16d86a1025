import { readFileSync } from 'node:fs';
import { Command } from 'commander';
import { balanceCommand } from './commands/balance.js';
import { conflictsCommand } from './commands/conflicts.js';
import { doctorCommand } from './commands/doctor.js';
import { foldCommand } from './commands/fold.js';
import { importCommand } from './commands/import.js';
import { migrationsCommand } from './commands/migrations.js';
import { nodesCommand } from './commands/nodes.js';
import { performanceCommand } from './commands/performance.js';
import { rebalanceCommand } from './commands/rebalance.js';
import { repairCommand } from './commands/repair.js';
import { schemaCommand } from './commands/schema.js';
import { setAsideCommand } from './commands/set-aside.js';
import { shardCommand } from './commands/shard.js';
import { submitCommand } from './commands/submit.js';
import { topologyCommand } from './commands/topology.js';
import { transactionsCommand } from './commands/transactions.js';
import { verifyCommand } from './commands/verify.js';
import { whyCommand } from './commands/why.js';
import { EXIT_CODES_HELP } from './exit-codes.js';

const GROUPS: readonly (readonly [string, readonly (() => Command)[]])[] = [
  ['Transactions:', [submitCommand, importCommand, balanceCommand, transactionsCommand]],
  [
    'Cluster:',
    [
      topologyCommand,
      nodesCommand,
      shardCommand,
      rebalanceCommand,
      migrationsCommand,
      whyCommand,
      performanceCommand,
      foldCommand,
      verifyCommand,
      doctorCommand,
      repairCommand,
    ],
  ],
  ['Data table:', [setAsideCommand, conflictsCommand, schemaCommand]],
];

/** The whole command line. Errors are thrown, never answered with an exit from inside. */
export function buildProgram(): Command {
  const { version } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  const program = new Command('spill')
    .description('Use and look after a spill cluster: balance updates for hot accounts, durable and exactly once.')
    .version(version)
    .addHelpText('after', `${EXIT_CODES_HELP}\n\n"spill COMMAND --help" shows options and an example.`);
  for (const [heading, commands] of GROUPS) {
    for (const command of commands) program.addCommand(command().helpGroup(heading));
  }
  throwErrors(program, process.argv.includes('--json'));
  return program;
}

/** In every command: errors are thrown; with `--json` commander writes no text of its own about them. */
function throwErrors(command: Command, json: boolean): void {
  command.exitOverride();
  if (json) command.configureOutput({ outputError: () => {} });
  else command.showHelpAfterError('(see --help)');
  for (const child of command.commands) throwErrors(child as Command, json);
}
