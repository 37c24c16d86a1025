import {
  type CountAndSum,
  Findings,
  type FoldTotals,
  judgeAccount,
  judgeLedgerTotals,
  type LedgerTotals,
  type TotalsFinding,
} from '@spill/core';
import type { VerifyPorts } from './verify-ports.js';
import type { VerifyReport } from './verify-report.js';
import { ShardVerification, type VerifiedShard } from './verify-shard.js';

const ACCOUNTS_PAGE = 500;
const ROWS_PAGE = 10_000;
const CONFLICTS_MAX = 100_000;
const NOTHING: CountAndSum = { count: 0n, sum: 0n };

export interface VerifyCluster extends VerifyPorts {
  /** spill alone writes the rows: a drift is an error. */
  readonly exclusive?: boolean;
}

/**
 * Compares every log with the database, on a cluster at work: each transaction acknowledged is in the ledger once, set
 * aside, a conflict, or pending; each row is its opening plus what was applied; each log is as it was written.
 *
 * Memory is bounded: a log is read a range at a time.
 *
 * @throws DataTableUnavailableError, and what NATS throws where it is away. The reason of `signal` once it is aborted.
 */
export async function verifyCluster(verify: VerifyCluster): Promise<VerifyReport> {
  const findings = new Findings();
  const { shards } = await verify.topology();
  const verified: VerifiedShard[] = [];
  let checked = 0;
  for (const entry of shards) {
    const onChecked = (count: number, sequence: number, to: number): void => {
      checked += count;
      verify.onProgress?.({ shard: entry.id, sequence, to, checked });
    };
    verified.push(await new ShardVerification(entry, verify, findings, onChecked).run());
    verify.signal?.throwIfAborted();
  }
  if (!verify.accounts) await judgeLedger(verify, findings, verified);
  const accounts = await judgeAccounts(verify, findings);
  await listConflicts(verify, findings);
  const { counts, examples } = findings;
  const wrong = counts.lost + counts.duplicated + counts.mismatched + counts.damaged;
  return {
    checked,
    ...counts,
    examples,
    ok: wrong === 0 && !(verify.exclusive && counts.drift > 0),
    pending: verified.reduce((sum, { report }) => sum + report.pending, 0),
    accounts,
    accepted_losses: verified.flatMap(({ report, accepted }) =>
      accepted.map((loss) => ({ shard: report.shard, ...loss })),
    ),
    shards: verified.map(({ report }) => report),
  };
}

/** What the folds say they put into the ledger, against what it holds. Looked at twice before anything is said. */
async function judgeLedger(
  verify: VerifyCluster,
  findings: Findings,
  verified: readonly VerifiedShard[],
): Promise<void> {
  let found = await compareLedger(verify, verified);
  if (found.length > 0) found = await compareLedger(verify, verified);
  for (const { kind, finding, count } of found) findings.add(kind, finding, count);
}

async function compareLedger(verify: VerifyCluster, verified: readonly VerifiedShard[]): Promise<TotalsFinding[]> {
  const { table } = verify;
  // Before and after the ledger: what was folded in between is in it and in no totals yet.
  const totals = byLog(await table.foldTotals());
  const ledger = await table.ledgerTotals();
  const after = byLog(await table.foldTotals());
  const found: TotalsFinding[] = [];
  for (const total of totals.values()) {
    const { shard, logId } = total.watermark;
    const rows = ledger.find((row) => row.shard === shard && row.logId === logId);
    const upTo = rows ? await upToWatermark(verify, total, after.get(keyOf(rows)), rows) : NOTHING;
    const known = verified.find(({ report }) => report.shard === shard)?.known ?? { missing: 0, extra: 0, changed: 0 };
    const finding = judgeLedgerTotals(total, upTo, known);
    if (finding) found.push(finding);
    verify.signal?.throwIfAborted();
  }
  for (const { shard, logId, rows } of ledger) {
    if (shard === null || after.has(keyOf({ shard, logId }))) continue;
    const count = Number(rows.count);
    const message = `the ledger counts ${count} transactions of shard ${shard}, log ${logId}, which never folded`;
    found.push({ kind: 'duplicated', count, finding: { message } });
  }
  return found;
}

function keyOf({ shard, logId }: { readonly shard: number | null; readonly logId: string | null }): string {
  return `${shard} ${logId}`;
}

/** One entry a log id; where a repair was repeated, its parts together. */
function byLog(totals: readonly FoldTotals[]): Map<string, FoldTotals> {
  const logs = new Map<string, FoldTotals>();
  for (const total of totals) {
    const key = keyOf(total.watermark);
    const before = logs.get(key);
    const plus = (a: CountAndSum, b: CountAndSum): CountAndSum => ({ count: a.count + b.count, sum: a.sum + b.sum });
    // The current one, or the latest, comes first.
    logs.set(key, before ? { ...before, folded: plus(before.folded, total.folded) } : total);
  }
  return logs;
}

/** What the ledger holds of a log, without what was folded after `total` was read. */
async function upToWatermark(
  verify: VerifyCluster,
  total: FoldTotals,
  after: FoldTotals | undefined,
  ledger: LedgerTotals,
): Promise<CountAndSum> {
  const { shard, logId, sequence } = total.watermark;
  let { count, sum } = ledger.rows;
  const toSequence = Math.min(ledger.lastSequence ?? 0, after?.watermark.sequence ?? 0);
  // A log that a repair ended is folded no further.
  if (!total.current || toSequence <= sequence) return { count, sum };
  let place: { sequence: number; index: number } | undefined;
  for (;;) {
    const query = { shard, logId, fromSequence: sequence + 1, toSequence, limit: ROWS_PAGE };
    const page = await verify.table.ledgerOfLog({ ...query, ...(place && { after: place }) });
    for (const row of page) {
      count -= 1n;
      sum -= row.amount;
    }
    const last = page.at(-1);
    if (!last || page.length < ROWS_PAGE) return { count, sum };
    place = { sequence: last.sequence, index: last.index };
  }
}

async function judgeAccounts(verify: VerifyCluster, findings: Findings): Promise<number> {
  let count = 0;
  let after: string | undefined;
  for (let at = 0; ; at += ACCOUNTS_PAGE) {
    const named = verify.accounts?.slice(at, at + ACCOUNTS_PAGE);
    if (named?.length === 0) return count;
    const page = named ? { accounts: named } : after === undefined ? {} : { after };
    const { accounts } = await verify.table.accountTotals({ ...page, limit: ACCOUNTS_PAGE });
    for (const totals of accounts) {
      const finding = judgeAccount(totals);
      if (finding) findings.add('drift', finding);
    }
    verify.signal?.throwIfAborted();
    count += accounts.length;
    after = accounts.at(-1)?.account;
    if (!named && accounts.length < ACCOUNTS_PAGE) return count;
  }
}

async function listConflicts(verify: VerifyCluster, findings: Findings): Promise<void> {
  const wanted = verify.accounts && new Set(verify.accounts);
  for (const conflict of await verify.table.listConflicts({ state: 'open', limit: CONFLICTS_MAX })) {
    const { account, id, shard, sequence, index, amount, ledgerAmount } = conflict;
    if (wanted && !wanted.has(account)) continue;
    const other = ledgerAmount === null ? (conflict.detail ?? 'it cannot be stored') : `${ledgerAmount} took effect`;
    findings.add('conflicts', {
      message:
        `transaction ${JSON.stringify(id)} of account ${JSON.stringify(account)} is ${amount} in record ${sequence} of ` +
        `shard ${shard}: ${other}. Resolve it with spill conflicts`,
      shard,
      log_id: conflict.logId,
      sequence,
      index,
      account,
      id,
      amount: amount.toString(),
      ...(ledgerAmount !== null && { expected: ledgerAmount.toString() }),
    });
  }
}
