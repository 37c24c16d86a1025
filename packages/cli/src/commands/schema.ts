import { DataTableSchemaError, type SchemaStatement } from '@spill/core';
import { Command } from 'commander';
import { withDatabase, withExamples, withOutput } from '../command-options.js';
import { plural } from '../render/numbers.js';
import { renderSchema } from '../render/schema.js';
import { onRun } from '../run-command.js';

/** spill's own tables in the user's database. */
export function schemaCommand(): Command {
  const group = new Command('schema')
    .description("spill's own tables beside the user's table: the schema `spill` of its database.")
    .addCommand(apply());
  return withExamples(group, 'spill schema apply --dry-run');
}

function apply(): Command {
  const command = new Command('apply')
    .description('Create or update them, once the mapping of the table is checked.')
    .option('--dry-run', 'only print the DDL and the GRANTs that are needed')
    .option('--grant-to <role>', 'who gets the GRANTs, where nodes connect as another role than this');
  withDatabase(command);
  withOutput(
    command,
    'spill schema apply --database-url postgres://owner@localhost/bank --table bank.accounts --dry-run',
  );
  return onRun(command, 0, async ({ options, output, dataTable }) => {
    const grantTo = options.grantTo as string | undefined;
    const table = dataTable(grantTo === undefined ? {} : { grantTo });
    const statements = await table.planSchema();
    if (!options.dryRun) await table.applySchema();
    const problems = (await table.checkSchema()).filter((problem) => !curedByApplying(problem, statements));
    const reply = { applied: !options.dryRun, statements };
    output.result(reply, () => {
      if (statements.length === 0) return options.dryRun ? '-- nothing is to be done' : 'nothing was to be done';
      return options.dryRun ? renderSchema(statements) : `applied ${plural(statements.length, 'statement')}`;
    });
    if (problems.length > 0) throw new DataTableSchemaError(problems);
  });
}

/** Before a plan is carried out, that it was not yet is no problem. */
function curedByApplying(problem: string, statements: readonly SchemaStatement[]): boolean {
  return problem.includes('`spill schema apply`') || statements.some(({ sql }) => problem.endsWith(sql));
}
