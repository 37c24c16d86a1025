import { accountField, BALANCE_ACCOUNTS_MAX } from '@spill/core';
import type { Balance, BalanceError } from '@spill/node/client';
import { Command } from 'commander';
import { checkedField } from '../checked-field.js';
import { withCluster, withOutput } from '../command-options.js';
import { EXIT } from '../exit-codes.js';
import { renderBalances } from '../render/balances.js';
import { onRun } from '../run-command.js';

/** Balances, with everything acknowledged before the command in them. */
export function balanceCommand(): Command {
  const command = new Command('balance')
    .description('Balances in minor units: the row, what is set aside, and what is not folded yet.')
    .argument('<account...>', 'accounts');
  withCluster(command, 5);
  withOutput(command, 'spill balance customer-1 bank-YZ');
  return onRun(command, 5_000, async (context, given) => {
    const accounts = (given as string[]).map((account) => checkedField('account', account, accountField));
    const client = await context.client();
    const answers: (Balance | BalanceError)[] = [];
    for (let from = 0; from < accounts.length; from += BALANCE_ACCOUNTS_MAX) {
      answers.push(...(await client.balance(accounts.slice(from, from + BALANCE_ACCOUNTS_MAX))));
    }
    const balances = answers.filter((answer): answer is Balance => !('error' in answer));
    const errors = answers.filter((answer): answer is BalanceError => 'error' in answer);
    context.output.result({ balances: answers.map(toWire) }, () => renderBalances(balances));
    for (const { error } of errors) context.output.note(`spill: ${error.message}`);
    if (errors.some(({ error }) => error.retryable)) return EXIT.unavailable;
    return errors.length > 0 ? EXIT.refused : EXIT.ok;
  });
}

function toWire(answer: Balance | BalanceError): object {
  if ('error' in answer) return { account: answer.account, error: answer.error.toWire() };
  const { account, balance, row, setAside, pending } = answer;
  return { account, balance, row, set_aside: setAside, pending };
}
