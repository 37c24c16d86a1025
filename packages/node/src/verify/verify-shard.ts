/**
 * One shard's log against the database, while both go on:
 *
 * ```
 * fold totals (the watermark) ──▶ witness ──▶ end of the log ──▶ records, a range at a time ──▶ totals
 *                                                                  │
 *                          up to the watermark: compared with the ledger rows of the range
 *                          beyond it: pending
 * ```
 *
 * The watermark is read first, so the log is never shorter than it says, and everything up to it is committed. What
 * looks wrong is looked at once more, against what the database says then.
 */
import {
  type AcceptedLoss,
  acceptedRows,
  type CountAndSum,
  compareRange,
  type Findings,
  type FoldTotals,
  isDrainedIn,
  isStorableText,
  judgeExtra,
  judgeFoldTotals,
  judgeTransaction,
  judgeWitness,
  type LoggedTransaction,
  type LogLedgerRow,
  LogWalk,
  type RangeComparison,
  type ShardEntry,
  type TransactionVerdict,
  type Unmatched,
  type WalkedRecord,
} from '@spill/core';
import { findLastRecord } from '../nats/find-last-record.js';
import { type LogMessage, LogMissingError } from '../nats/log.js';
import type { ReadableLog, VerifyPorts } from './verify-ports.js';
import type { ShardReport } from './verify-report.js';

/** Transactions compared at once. */
const RANGE_ROWS_MAX = 20_000;
/** Records without a transaction of interest end a range too, so that it never spans too much of the ledger. */
const RANGE_RECORDS_MAX = 5_000;
const PAGE_ROWS = 10_000;
const KEYS_MAX = 5_000;

export interface VerifiedShard {
  readonly report: ShardReport;
  readonly accepted: readonly AcceptedLoss[];
  /** Found one by one, for the comparison of totals. */
  readonly known: { missing: number; extra: number; changed: number };
}

interface Range {
  from: number;
  to: number;
  transactions: LoggedTransaction[];
  /** The log id of each record that may be believed. */
  readonly records: Map<number, string>;
}

export class ShardVerification {
  private readonly known = { missing: 0, extra: 0, changed: 0 };
  private readonly wanted: ReadonlySet<string> | null;
  private checked = 0;
  private pending = 0n;
  private totals: FoldTotals | null = null;
  /** Log ids of the shard that the data table knows. */
  private logIds: readonly string[] = [];
  private watermark = 0;
  private range: Range | null = null;
  private end = 0;
  private first: WalkedRecord<LogMessage> | null = null;
  private lastBelieved: WalkedRecord<LogMessage> | null = null;
  private atWatermark: WalkedRecord<LogMessage> | null = null;

  constructor(
    private readonly entry: ShardEntry,
    private readonly ports: VerifyPorts,
    private readonly findings: Findings,
    private readonly onChecked: (count: number, sequence: number, to: number) => void,
  ) {
    this.wanted = ports.accounts && new Set(ports.accounts);
  }

  async run(): Promise<VerifiedShard> {
    const { entry, ports } = this;
    if (entry.state === 'damaged') this.damaged(entry.reason ?? 'marked as damaged');
    await this.readTotals();
    const witness = await ports.witness(entry.id);
    const log = await ports.openLog(entry.id);
    let end: { from: number; to: number };
    try {
      end = await this.readEnd(log);
    } catch (error) {
      if (!(error instanceof LogMissingError)) throw error;
      // The stream of a retired shard is deleted once all of it is folded; the data table may have been set back since.
      if (entry.state !== 'retired') this.damaged(error.message);
      else if (!isDrainedIn(entry, this.totals?.watermark)) {
        this.damaged(
          `${error.message}, and the data table has folded it up to ${this.watermark} of ${entry.drainedTo}`,
        );
      }
      return { report: this.report(0, 0), accepted: [], known: this.known };
    }
    // Folded on and purged between the two looks: what is kept belongs to a later watermark.
    if (end.from > this.watermark + 1) await this.readTotals();
    this.end = end.to;
    if (witness && witness.logId === entry.logId && witness.sequence > end.to) {
      this.damaged(`the log ends with record ${end.to}, but ${witness.from} remembers record ${witness.sequence}`);
    }
    this.judgeWatermarkPlace(end);
    const walk = new LogWalk<LogMessage>(end.from);
    const handle = async (records: readonly WalkedRecord<LogMessage>[]): Promise<void> => {
      for (const record of records) {
        const broken = witness && judgeWitness(witness, placeOf(record));
        if (broken) this.damaged(broken, record.message.sequence);
        await this.take(record);
      }
    };
    try {
      for await (const message of end.to === 0 ? [] : log.read(end.from, end.to)) {
        ports.signal?.throwIfAborted();
        if (message.sequence > end.to) break;
        if (message.sequence > walk.expected) {
          const { firstSequence } = await log.info();
          if (firstSequence > walk.expected) await handle(walk.purgedBelow(Math.min(firstSequence, message.sequence)));
        }
        await handle(walk.take(message));
      }
    } catch (error) {
      if (ports.signal?.aborted) throw error;
      walk.damage(
        walk.expected,
        end.to,
        `the log could not be read on from record ${walk.expected}: ${(error as Error).message}`,
      );
    }
    await handle(walk.finish(end.to));
    await this.compare();
    for (const damage of walk.damages) this.damaged(damage.why, damage.from);
    const more = walk.damageCount - walk.damages.length;
    if (more > 0) this.findings.add('damaged', { message: `${more} more breaks in shard ${entry.id}'s log` }, more);
    this.judgeLastRecord(walk, end);
    this.judgeTotals(end);
    return { report: this.report(end.from, end.to), accepted: walk.accepted, known: this.known };
  }

  private async readTotals(): Promise<void> {
    const ofShard = (await this.ports.table.foldTotals()).filter(({ watermark }) => watermark.shard === this.entry.id);
    this.totals = ofShard.find(({ current }) => current) ?? null;
    this.logIds = [...new Set([this.entry.logId, ...ofShard.map(({ watermark }) => watermark.logId)])];
    this.watermark = this.totals?.watermark.sequence ?? 0;
  }

  private async readEnd(log: ReadableLog): Promise<{ from: number; to: number }> {
    const { firstSequence, lastSequence, problems } = await log.info();
    for (const problem of problems) this.damaged(problem);
    const last = await findLastRecord(log, firstSequence, lastSequence);
    if (!last) {
      this.damaged('nothing in the log can be read, though it was created with a first record');
      return { from: firstSequence, to: 0 };
    }
    if (last.sequence < lastSequence)
      this.damaged(`records ${last.sequence + 1} to ${lastSequence} are missing or cannot be read`);
    return { from: firstSequence, to: last.sequence };
  }

  private judgeWatermarkPlace(end: { from: number; to: number }): void {
    const { entry, totals } = this;
    if (totals && totals.watermark.logId !== entry.logId) {
      this.damaged(`the data table has folded log ${totals.watermark.logId}, the topology names ${entry.logId}`);
      // Nothing can be said of what is folded.
      this.totals = null;
      this.watermark = 0;
    } else if (this.watermark > end.to) {
      this.damaged(`the data table has folded up to ${this.watermark}, the log ends at ${end.to}`);
    } else if (end.from > this.watermark + 1) {
      this.damaged(`the data table has folded up to ${this.watermark}, the log begins at ${end.from}`);
    }
  }

  private async take(record: WalkedRecord<LogMessage>): Promise<void> {
    const { sequence } = record.message;
    this.first ??= record;
    this.lastBelieved = record;
    if (sequence > this.watermark) {
      if (!this.wanted) this.pending += record.rows.count;
      else for (const row of acceptedRows(record.record)) if (this.wanted.has(row.account)) this.pending += 1n;
      return;
    }
    if (sequence === this.watermark) this.judgeAtWatermark(record);
    this.range ??= { from: sequence, to: sequence, transactions: [], records: new Map() };
    const { range } = this;
    const { logId } = record.record;
    range.to = sequence;
    range.records.set(sequence, logId);
    for (const row of acceptedRows(record.record)) {
      if (!this.wanted || this.wanted.has(row.account)) {
        range.transactions.push({ shard: this.entry.id, logId, sequence, ...row });
      }
    }
    if (range.transactions.length < RANGE_ROWS_MAX && range.records.size < RANGE_RECORDS_MAX) return;
    await this.compare();
  }

  private judgeAtWatermark(record: WalkedRecord<LogMessage>): void {
    this.atWatermark = record;
    const { watermark } = this.totals!;
    if (watermark.number === record.record.number && watermark.hash === record.hash) return;
    this.damaged(
      `record ${watermark.sequence} is number ${record.record.number} with hash ${record.hash} in the log, ` +
        `number ${watermark.number} with hash ${watermark.hash} in the data table`,
      watermark.sequence,
    );
  }

  private async compare(): Promise<void> {
    const { range } = this;
    this.range = null;
    if (!range) return;
    const { transactions } = range;
    // For some accounts alone the ledger is asked by key: their rows are few and far between.
    const { matched, unmatched, extra } = this.wanted
      ? { matched: 0, unmatched: transactions.map((transaction) => ({ transaction, atPlace: null })), extra: [] }
      : onRecord(compareRange(transactions, await this.ledgerRows(range)), this.entry.logId);
    this.checked += transactions.length;
    this.onChecked(transactions.length, range.to, this.end);
    if (matched === transactions.length && extra.length === 0) return;
    const suspects = await this.judge(unmatched, range);
    const confirmed = suspects.length > 0 ? await this.judgeAgain(suspects, range) : [];
    for (const { verdict } of confirmed) {
      if (verdict.verdict !== 'lost' && verdict.verdict !== 'mismatched') continue;
      this.known[verdict.verdict === 'lost' ? 'missing' : 'changed'] += 1;
      this.findings.add(verdict.verdict, verdict.finding);
    }
    for (const row of extra) {
      this.known.extra += 1;
      this.findings.add('duplicated', judgeExtra(row));
    }
  }

  /**
   * Rows that name a place in the range: under the records' own log id, and under the present one, which a repair gives
   * to what is folded again. A record that is passed over has no place; nor has what a former log held here, before it
   * lost its end.
   */
  private async ledgerRows(range: Range): Promise<LogLedgerRow[]> {
    const rows: LogLedgerRow[] = [];
    for (const logId of new Set([...range.records.values(), this.entry.logId])) {
      const place = { shard: this.entry.id, logId, fromSequence: range.from, toSequence: range.to };
      let after: { sequence: number; index: number } | undefined;
      for (;;) {
        const page = await this.ports.table.ledgerOfLog({ ...place, ...(after && { after }), limit: PAGE_ROWS });
        for (const row of page) {
          const recordLogId = range.records.get(row.sequence);
          if (recordLogId === row.logId || (recordLogId && row.logId === this.entry.logId)) rows.push(row);
        }
        const last = page.at(-1);
        if (!last || page.length < PAGE_ROWS) break;
        after = { sequence: last.sequence, index: last.index };
      }
    }
    return rows;
  }

  /** Those of which the ledger's keys and the conflicts do not say where they are. */
  private async judge(
    unmatched: readonly Unmatched[],
    range: Range,
  ): Promise<{ unmatched: Unmatched; verdict: TransactionVerdict }[]> {
    const { table } = this.ports;
    const conflicts = new Map<string, Awaited<ReturnType<typeof table.conflictsOfLog>>>();
    let conflictsRead = false;
    const suspects: { unmatched: Unmatched; verdict: TransactionVerdict }[] = [];
    for (let at = 0; at < unmatched.length; at += KEYS_MAX) {
      const some = unmatched.slice(at, at + KEYS_MAX);
      const askable = some.filter(({ transaction: { account, id } }) => isStorableText(account) && isStorableText(id));
      const found = await table.ledger(askable.map(({ transaction: { account, id } }) => ({ account, id })));
      const rows = new Map(askable.map((one, i) => [one, found[i] ?? null]));
      for (const one of some) {
        const row = rows.get(one) ?? null;
        if (judgeTransaction(one, row, []).verdict === 'dropped') continue;
        if (!conflictsRead) {
          conflictsRead = true;
          for (const logId of this.logIds) {
            const place = { shard: this.entry.id, logId, fromSequence: range.from, toSequence: range.to };
            for (const conflict of await table.conflictsOfLog(place)) {
              const key = `${conflict.sequence}.${conflict.index}`;
              conflicts.set(key, [...(conflicts.get(key) ?? []), conflict]);
            }
          }
        }
        const { sequence, index } = one.transaction;
        const verdict = judgeTransaction(one, row, conflicts.get(`${sequence}.${index}`) ?? []);
        if (verdict.verdict === 'lost' || verdict.verdict === 'mismatched') suspects.push({ unmatched: one, verdict });
      }
    }
    return suspects;
  }

  /** Once more, since the database may have been set back meanwhile, to before what is looked for: then it is pending. */
  private async judgeAgain(
    suspects: readonly { unmatched: Unmatched }[],
    range: Range,
  ): ReturnType<ShardVerification['judge']> {
    const now = (await this.ports.table.foldTotals()).find(
      ({ watermark, current }) => current && watermark.shard === this.entry.id,
    );
    if (now?.watermark.logId !== this.totals?.watermark.logId) return [];
    const still = suspects
      .map(({ unmatched }) => unmatched)
      .filter(({ transaction }) => transaction.sequence <= (now?.watermark.sequence ?? 0));
    return this.judge(still, range);
  }

  private judgeLastRecord(walk: LogWalk<LogMessage>, end: { to: number }): void {
    const { lastBelieved, entry } = this;
    if (!lastBelieved || walk.damageCount > 0 || lastBelieved.message.sequence !== end.to) return;
    if (lastBelieved.record.logId === entry.logId) return;
    this.damaged(
      `the log's last record ${end.to} belongs to log ${lastBelieved.record.logId}, the topology names ${entry.logId}`,
    );
  }

  private judgeTotals(end: { from: number }): void {
    const { totals } = this;
    const logged = totals && this.loggedUpToWatermark(totals, end.from);
    const finding = logged && judgeFoldTotals(logged, totals);
    if (finding) this.findings.add(finding.kind, finding.finding, finding.count);
  }

  /** What the log holds between the watermark's base and the watermark; null: it can't be told. */
  private loggedUpToWatermark(totals: FoldTotals, from: number): CountAndSum | null {
    const { logId, sequence } = totals.watermark;
    if (sequence === totals.baseSequence) return { count: 0n, sum: 0n };
    const { atWatermark, first } = this;
    if (atWatermark) {
      const { record, walked } = atWatermark;
      if (record.logId === logId) return { count: BigInt(record.count), sum: record.sum };
      // Folded again after a repair, and not yet as far: the running numbers are those of the former log id.
      return totals.baseSequence === from - 1 ? walked : null;
    }
    if (!first || first.message.sequence !== sequence + 1 || first.record.logId !== logId) return null;
    return { count: BigInt(first.record.count) - first.rows.count, sum: first.record.sum - first.rows.sum };
  }

  private report(from: number, to: number): ShardReport {
    const { first } = this;
    const purged = first ? BigInt(first.record.count) - first.rows.count : 0n;
    return {
      shard: this.entry.id,
      log_id: this.entry.logId,
      from,
      to,
      watermark: this.watermark,
      checked: this.checked,
      pending: Number(this.pending),
      by_sum: this.wanted ? 0 : Number(purged),
    };
  }

  private damaged(why: string, sequence?: number): void {
    const { id: shard, logId } = this.entry;
    const place = sequence === undefined ? {} : { sequence };
    this.findings.add('damaged', { message: `shard ${shard}: ${why}`, shard, log_id: logId, ...place });
  }
}

/**
 * What was folded of a log before a repair gave it its present id need not be what it holds now: it may be an older copy
 * that grew on. That loss is on record, so only rows of the present id can be wrong about their place.
 */
function onRecord({ matched, unmatched, extra }: RangeComparison, logId: string): RangeComparison {
  return {
    matched,
    unmatched: unmatched.map((one) => (one.atPlace?.logId === logId ? one : { ...one, atPlace: null })),
    extra: extra.filter((row) => row.logId === logId),
  };
}

function placeOf({ message, record, hash }: WalkedRecord<LogMessage>): {
  logId: string;
  sequence: number;
  hash: string;
} {
  return { logId: record.logId, sequence: message.sequence, hash };
}
