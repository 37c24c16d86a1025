import type { ConflictRow } from '@spill/core';
import { Command } from 'commander';
import { usageError } from '../cli-error.js';
import { withDatabase, withExamples, withNote, withOutput } from '../command-options.js';
import { operatorNote } from '../operator-note.js';
import { placeOf, renderConflicts } from '../render/set-aside.js';
import { showText } from '../render/show-text.js';
import { onRun } from '../run-command.js';
import { wholeOption } from '../whole-option.js';

/** The same id on the same account with another amount, found at the fold: in no balance until somebody decides. */
export function conflictsCommand(): Command {
  const group = new Command('conflicts')
    .description('Stored transactions whose id already took effect with another amount: in no balance.')
    .addCommand(list())
    .addCommand(resolve());
  return withExamples(group, 'spill conflicts list --json');
}

function list(): Command {
  const command = new Command('list')
    .description('Open conflicts.')
    .option('--all', 'resolved ones as well')
    .option('--limit <count>', 'at most so many (default: 1000)');
  withDatabase(command);
  withOutput(command, 'spill conflicts list');
  return onRun(command, 0, async ({ options, output, dataTable }) => {
    const limit = wholeOption(options, 'limit', 1, 1_000_000) ?? 1_000;
    const rows = await dataTable().listConflicts({ limit, ...(!options.all && { state: 'open' as const }) });
    output.result({ conflicts: rows.map(toWire) }, () => renderConflicts(rows) || 'there are no conflicts');
    if (rows.length === limit) output.note('there may be more: --limit');
  });
}

function resolve(): Command {
  const command = new Command('resolve')
    .description('Note that a conflict was dealt with. No balance changes: correct one with another transaction.')
    .argument('<place>', 'where it lies, as "spill conflicts list" shows it');
  withNote(withDatabase(command));
  withOutput(
    command,
    'spill conflicts resolve 5f0c1d7e9b2a4c6d8e0f1a2b3c4d5e6f:17:0 --why "corrected by correction-17"',
  );
  return onRun(command, 0, async ({ options, output, dataTable }, given) => {
    const note = operatorNote(options);
    const place = parsePlace(String(given));
    const row = await dataTable().resolveConflict(place, note);
    output.result(toWire(row), () => `${showText(row.account)}, ${showText(row.id)}: ${row.amount} resolved`);
  });
}

function parsePlace(text: string): { logId: string; sequence: number; index: number } {
  const match = /^([0-9a-f]{32}):([1-9][0-9]{0,14}):(0|[1-9][0-9]{0,8})$/.exec(text);
  if (!match) {
    throw usageError(
      `place is ${JSON.stringify(text)}: must be log id, record and index as "spill conflicts list" shows`,
    );
  }
  return { logId: match[1] as string, sequence: Number(match[2]), index: Number(match[3]) };
}

function toWire(row: ConflictRow): object {
  return {
    place: placeOf(row),
    log_id: row.logId,
    shard: row.shard,
    sequence: row.sequence,
    index: row.index,
    account: row.account,
    id: row.id,
    amount: row.amount,
    timestamp: row.timestamp,
    ledger_amount: row.ledgerAmount,
    detail: row.detail,
    state: row.state,
  };
}
