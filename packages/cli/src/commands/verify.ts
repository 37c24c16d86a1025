import { accountField } from '@spill/core';
import { Command } from 'commander';
import { checkedField } from '../checked-field.js';
import { withCluster, withOutput } from '../command-options.js';
import { EXIT } from '../exit-codes.js';
import { isClean, renderVerification } from '../render/verification.js';
import { onRun } from '../run-command.js';

/** Proves log = ledger + set aside + conflicts + pending. */
export function verifyCommand(): Command {
  const command = new Command('verify')
    .description('Compare logs, ledger and rows: nothing lost, nothing twice. Exit code 4 where something is wrong.')
    .argument('[account...]', 'only these accounts (default: all)')
    .option('--exclusive', 'nothing but spill changes the rows: a row with another balance is an error');
  withCluster(command, 600);
  withOutput(command, 'spill verify', 'spill verify customer-1 --exclusive');
  return onRun(command, 600_000, async ({ options, output, operator, timeoutMs }, given) => {
    const accounts = (given as string[]).map((account) => checkedField('account', account, accountField));
    const exclusive = options.exclusive === true;
    const reply = await (await operator()).verify(accounts.length > 0 ? accounts : null, { timeoutMs });
    output.result(reply, () => renderVerification(reply, exclusive));
    return isClean(reply, exclusive) ? EXIT.ok : EXIT.found;
  });
}
