import type { RepairReport } from '@spill/node';
import { plural } from './numbers.js';
import { showText } from './show-text.js';

/** What a repair would lose, or has accepted as lost. */
export function renderRepair(report: RepairReport): string {
  const { shard, repaired, reason, former_log_id: former, log_id: logId, kept, folded_up_to: folded, lost } = report;
  const { new_ledger: newLedger } = report;
  const range =
    kept.to < kept.from
      ? 'keeps no record'
      : `keeps records ${kept.from} to ${kept.to}, with ${plural(kept.transactions, 'transaction')}`;
  const lines = [
    `shard ${shard} was damaged: ${showText(reason)}`,
    `log ${former} ${range}; it was folded up to record ${folded}`,
    ...(lost.length > 0 ? ['lost:'] : ['nothing that anybody remembers is lost']),
    ...lost.map((part) => `  ${showText(part.why)}: ${amountOf(part)}`),
  ];
  if (newLedger !== null && !repaired) lines.push(showText(newLedger));
  const end = repaired
    ? `repaired: the log goes on as ${logId}, and what was lost is on record`
    : `nothing was changed; to go on without that: spill repair ${shard} --accept-loss${newLedger === null ? '' : ' --accept-new-ledger'} --why "..."`;
  return [...lines, '', end].join('\n');
}

function amountOf({ transactions, sum }: RepairReport['lost'][number]): string {
  if (transactions === null) return 'nobody knows how many transactions';
  return `${plural(transactions, 'transaction')}, ${sum} in all`;
}
