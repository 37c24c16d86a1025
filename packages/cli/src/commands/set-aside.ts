import { accountField, idField, type LedgerRow, type SetAsideRow } from '@spill/core';
import { Command } from 'commander';
import { checkedField } from '../checked-field.js';
import { usageError } from '../cli-error.js';
import { withCluster, withDatabase, withExamples, withNote, withOutput } from '../command-options.js';
import { EXIT } from '../exit-codes.js';
import { operatorNote } from '../operator-note.js';
import { plural } from '../render/numbers.js';
import { renderSetAside } from '../render/set-aside.js';
import { showText } from '../render/show-text.js';
import { onRun } from '../run-command.js';
import { wholeOption } from '../whole-option.js';

const LIMIT_MAX = 1_000_000;

/** Stored transactions that could not be added to their row: what operators can do about them. */
export function setAsideCommand(): Command {
  const group = new Command('set-aside')
    .description('Transactions that are stored, but not in their row: list, retry, move to another account, write off.')
    .addCommand(list())
    .addCommand(retry())
    .addCommand(move())
    .addCommand(writeOff());
  return withExamples(group, 'spill set-aside list --json', 'spill set-aside retry --all');
}

function list(): Command {
  const command = new Command('list')
    .description('What is set aside, and why.')
    .argument('[account]', 'only of this account')
    .option('--limit <count>', 'at most so many (default: 1000)');
  withDatabase(command);
  withOutput(command, 'spill set-aside list');
  return onRun(command, 0, async ({ options, output, dataTable }, given) => {
    const limit = wholeOption(options, 'limit', 1, LIMIT_MAX) ?? 1_000;
    const account = given === undefined ? undefined : checkedField('account', given, accountField);
    const rows = await dataTable().listSetAside({ limit, ...(account !== undefined && { account }) });
    output.result({ set_aside: rows.map(toWire) }, () => renderSetAside(rows) || 'nothing is set aside');
    if (rows.length === limit) output.note(`there may be more: --limit`);
  });
}

function retry(): Command {
  const command = new Command('retry')
    .description('Try to add them to their rows now.')
    .argument('[account...]', 'of these accounts')
    .option('--all', 'of all accounts')
    .option('--limit <count>', 'at most so many transactions (default: 100000)');
  withDatabase(withCluster(command, 5));
  withOutput(command, 'spill set-aside retry customer-1');
  return onRun(command, 5_000, async ({ options, output, rowsOfCluster }, given) => {
    const accounts = (given as string[]).map((account) => checkedField('account', account, accountField));
    if (accounts.length > 0 === (options.all === true)) throw usageError('name accounts, or say --all');
    const limit = wholeOption(options, 'limit', 1, LIMIT_MAX) ?? 100_000;
    const { applied, remaining } = await (await rowsOfCluster()).retrySetAside({
      dueOnly: false,
      limit,
      ...(accounts.length > 0 && { accounts }),
    });
    output.result({ applied, remaining }, () => {
      const rest = remaining > 0 ? `, ${remaining} still set aside: see "spill set-aside list"` : '';
      return `${plural(applied, 'transaction')} applied${rest}`;
    });
    return remaining > 0 ? EXIT.refused : EXIT.ok;
  });
}

function move(): Command {
  const command = new Command('move')
    .description('Apply one to another account. It keeps its id, so that a retry of it is still known.')
    .argument('<account>', 'the account that it names')
    .argument('<id>', 'its id')
    .argument('<to-account>', 'the account that gets it');
  withNote(withDatabase(withCluster(command, 5)));
  withOutput(command, 'spill set-aside move customer-1 order-29401-debit suspense --why "account closed, case 4711"');
  return onRun(command, 5_000, async ({ options, output, rowsOfCluster }, account, id, to) => {
    const note = operatorNote(options);
    const target = checkedField('to-account', to, accountField);
    const row = await (await rowsOfCluster()).moveSetAside(keyOf(account, id), target, note);
    output.result(ledgerToWire(row), () => `${describe(row)} applied to ${showText(target)}`);
  });
}

function writeOff(): Command {
  const command = new Command('write-off')
    .description('Decide that one is never applied: it is then in no balance.')
    .argument('<account>', 'the account that it names')
    .argument('<id>', 'its id');
  withNote(withDatabase(command));
  withOutput(command, 'spill set-aside write-off customer-1 order-29401-debit --why "sent by mistake, case 4711"');
  return onRun(command, 0, async ({ options, output, dataTable }, account, id) => {
    const note = operatorNote(options);
    const row = await dataTable().writeOff(keyOf(account, id), note);
    output.result(ledgerToWire(row), () => `${describe(row)} written off`);
  });
}

function keyOf(account: unknown, id: unknown): { account: string; id: string } {
  return { account: checkedField('account', account, accountField), id: checkedField('id', id, idField) };
}

function describe({ account, id, amount }: LedgerRow): string {
  return `${showText(account)}, ${showText(id)}: ${amount}`;
}

function ledgerToWire(row: LedgerRow): object {
  const { account, id, amount, timestamp, shard, sequence, state, reason, appliedAccount } = row;
  return { account, id, amount, timestamp, shard, sequence, state, reason, applied_account: appliedAccount };
}

function toWire(row: SetAsideRow): object {
  return { ...ledgerToWire(row), detail: row.detail, set_aside_at: row.setAsideAt, attempts: row.attempts };
}
