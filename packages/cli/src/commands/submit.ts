import { accountField, amountField, idField, type SubmitResult } from '@spill/core';
import { Command } from 'commander';
import { checkedField } from '../checked-field.js';
import { usageError } from '../cli-error.js';
import { withCluster, withOutput } from '../command-options.js';
import { EXIT } from '../exit-codes.js';
import { parseTimestamp } from '../parse-timestamp.js';
import { renderResult } from '../render/result.js';
import { onRun } from '../run-command.js';

/** Stores one transaction. */
export function submitCommand(): Command {
  const command = new Command('submit')
    .description('Store one transaction; returns when it is durable. Stored is not approved: see "spill set-aside".')
    .argument('<account>', 'the account, 1 to 128 bytes')
    .argument('<amount>', 'signed, in minor units, not 0: -1250')
    .option('--id <id>', 'its id, 1 to 64 bytes: the same id again counts once (default: a random one)')
    .option('--timestamp <time>', 'first try, in microseconds or as 2026-11-24T07:00:00Z (default: now)');
  withCluster(command, 5);
  withOutput(command, 'spill submit customer-1 -24520 --id order-29401-debit');
  return onRun(command, 5_000, async (context, account, amount) => {
    const transaction = {
      account: checkedField('account', account, accountField),
      amount: checkedField('amount', amount, amountField),
      ...(context.options.id !== undefined && { id: checkedField('id', context.options.id, idField) }),
      ...(context.options.timestamp !== undefined && { timestamp: timestampOption(String(context.options.timestamp)) }),
    };
    const client = await context.client();
    const result: SubmitResult = await client.submit(transaction);
    if (result.status === 'rejected') throw result.error;
    context.output.result(result, () => renderResult(result, transaction));
    return EXIT.ok;
  });
}

function timestampOption(text: string): number {
  const timestamp = parseTimestamp(text);
  if (timestamp !== null) return timestamp;
  throw usageError(
    `--timestamp is ${JSON.stringify(text)}: must be microseconds since 1970, or a time such as 2026-11-24T07:00:00Z`,
  );
}
