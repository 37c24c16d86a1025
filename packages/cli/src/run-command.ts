import { SpillError } from '@spill/core';
import { noServerError, OperatorClient, type PostgresDataTable } from '@spill/node';
import { connect, type SpillClient } from '@spill/node/client';
import type { Command } from 'commander';
import { type CliSettings, type Options, readCliSettings } from './cli-settings.js';
import { type OpenDataTable, openDataTable, openRowsOfCluster, type UncheckedDataTable } from './open-data-table.js';
import { createOutput, type Output } from './output.js';

/** What a command works with. What it opens is closed after it, whether it fails or not. */
export interface CommandContext extends CliSettings {
  readonly options: Options;
  readonly output: Output;
  /** @throws SpillError `unavailable` where no server answers. */
  operator(): Promise<OperatorClient>;
  /** @throws SpillError `unavailable` where no server answers. */
  client(): Promise<SpillClient>;
  /** Opened at its first use: a database that is away is told there. */
  dataTable(options?: OpenDataTable): UncheckedDataTable;
  /** The same, for a command that adds to rows: with the cluster's mapping, or not at all. */
  rowsOfCluster(): Promise<PostgresDataTable>;
}

/** Its arguments as commander gives them; a rest argument is an array. Returns the exit code; nothing: 0. */
// biome-ignore lint/suspicious/noConfusingVoidType: a handler that returns nothing has no other type
export type CommandHandler = (context: CommandContext, ...args: readonly unknown[]) => Promise<number | void>;

/** Makes `handler` the action of a command. */
export function onRun(command: Command, defaultTimeoutMs: number, handler: CommandHandler): Command {
  return command.action(async () => {
    const options = command.opts<Options>();
    const closing: (() => Promise<unknown>)[] = [];
    const where = readCliSettings(options, defaultTimeoutMs);
    const output = createOutput(options.json === true);
    for (const warning of where.warnings) output.note(warning);
    const context: CommandContext = {
      ...where,
      options,
      output,
      async operator() {
        const client = await OperatorClient.connect({
          servers: where.nats,
          prefix: where.settings.prefix,
          name: 'spill',
        });
        closing.push(() => client.close());
        return client;
      },
      async client() {
        const client = await connectClient(where);
        closing.push(() => client.close());
        return client;
      },
      dataTable(tableOptions) {
        const table = openDataTable(where.settings, tableOptions);
        closing.push(() => table.close());
        return table;
      },
      async rowsOfCluster() {
        const table = await openRowsOfCluster(where);
        closing.push(() => table.close());
        return table;
      },
    };
    try {
      process.exitCode = (await handler(context, ...command.processedArgs)) ?? 0;
    } finally {
      for (const close of closing.reverse()) await close();
    }
  });
}

async function connectClient({ nats, settings, timeoutMs }: CliSettings): Promise<SpillClient> {
  try {
    return await connect({
      servers: nats.split(','),
      prefix: settings.prefix,
      name: 'spill',
      deadlineMs: timeoutMs,
    });
  } catch (error) {
    if (error instanceof SpillError) throw error;
    throw noServerError(nats, error);
  }
}
