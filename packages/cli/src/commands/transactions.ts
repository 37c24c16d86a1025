import { accountField, RETRIEVE_LIMIT_MAX, type StateFilter } from '@spill/core';
import type { SpillClient, TransactionList } from '@spill/node/client';
import { Command, Option } from 'commander';
import { checkedField } from '../checked-field.js';
import { usageError } from '../cli-error.js';
import type { Options } from '../cli-settings.js';
import { withCluster, withOutput } from '../command-options.js';
import { type Output, toJson } from '../output.js';
import { parseTimestamp } from '../parse-timestamp.js';
import { renderTransactions } from '../render/transactions.js';
import { onRun } from '../run-command.js';
import { wholeOption } from '../whole-option.js';

const STATES: readonly StateFilter[] = ['all', 'pending', 'folded', 'set_aside'];

/** The transactions of one account, by timestamp, page by page. */
export function transactionsCommand(): Command {
  const command = new Command('transactions')
    .description('The transactions of an account, by timestamp.')
    .argument('<account>', 'the account')
    .addOption(new Option('--state <state>', 'only those').choices(STATES).default('all'))
    .option('--from <time>', 'from then on, in microseconds or as 2026-11-24T07:00:00Z')
    .option('--to <time>', 'before then')
    .option('--limit <count>', `of a page, 1 to ${RETRIEVE_LIMIT_MAX} (default: 100)`)
    .option('--after <cursor>', 'the page after this `next` of an earlier one')
    .option('--all', 'all pages');
  withCluster(command, 10);
  withOutput(
    command,
    'spill transactions customer-1 --state pending',
    'spill transactions bank-YZ --from 2026-11-24T00:00:00Z --all --json',
  );
  return onRun(command, 10_000, async (context, given) => {
    const { options, output } = context;
    const account = checkedField('account', given, accountField);
    const query = {
      account,
      limit: wholeOption(options, 'limit', 1, RETRIEVE_LIMIT_MAX) ?? (options.all ? RETRIEVE_LIMIT_MAX : 100),
      state: options.state as StateFilter,
      ...timeOption(options, 'from'),
      ...timeOption(options, 'to'),
    };
    const client = await context.client();
    const pages = pagesOf(client, query, options);
    if (output.json) await writeJson(output, account, pages);
    else await writeText(output, account, pages);
  });
}

type Query = Parameters<SpillClient['retrieve']>[0];

async function* pagesOf(client: SpillClient, query: Query, options: Options): AsyncGenerator<TransactionList> {
  let after = options.after as string | undefined;
  for (;;) {
    const page = await client.retrieve({ ...query, ...(after !== undefined && { after }) });
    yield page;
    if (page.next === null || !options.all) return;
    after = page.next;
  }
}

/** One object, written page by page: an account's history may be longer than memory. */
async function writeJson(output: Output, account: string, pages: AsyncIterable<TransactionList>): Promise<void> {
  let begun = false;
  let written = 0;
  let next: string | null = null;
  for await (const page of pages) {
    if (!begun) await output.write(`{"account":${toJson(account)},"transactions":[`);
    begun = true;
    for (const transaction of page.transactions)
      await output.write(`${written++ > 0 ? ',' : ''}${toJson(transaction)}`);
    next = page.next;
  }
  await output.write(`]${next === null ? '' : `,"next":${toJson(next)}`}}\n`);
}

async function writeText(output: Output, account: string, pages: AsyncIterable<TransactionList>): Promise<void> {
  let shown = 0;
  let next: string | null = null;
  for await (const page of pages) {
    shown += page.transactions.length;
    if (page.transactions.length > 0) await output.write(`${renderTransactions(page.transactions)}\n`);
    next = page.next;
  }
  if (shown === 0) output.note(`${JSON.stringify(account)} has no such transactions`);
  if (next !== null) output.note(`there are more: --all, or --after ${next}`);
}

function timeOption<N extends 'from' | 'to'>(options: Options, name: N): { [K in N]?: number } {
  const text = options[name];
  if (text === undefined) return {};
  const timestamp = parseTimestamp(String(text));
  if (timestamp !== null) return { [name]: timestamp } as { [K in N]?: number };
  throw usageError(
    `--${name} is ${JSON.stringify(text)}: must be microseconds since 1970, or a time such as 2026-11-24T07:00:00Z`,
  );
}
