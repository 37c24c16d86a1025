/**
 * `spill repair --accept-loss`: a damaged shard serves again with what is left of its log. Never automatic.
 *
 * ```
 * damaged ──▶ scan ──▶ assignment above every one seen ──▶ `rebased` under a new log id ──▶ watermark ──▶ open
 *                          (topology)                          (log)                      (database)   (topology)
 * ```
 *
 * Until the last step the topology says `damaged`, so no process opens the log in between. A repair that was cut short
 * is run again: it finds its own `rebased` at the end of the log, and goes on from there.
 *
 * The watermark goes below the oldest kept record, so that whatever is kept is folded again; the ledger's key drops
 * what was folded before. The horizon rises to now, since not everything above it is known any more: an unknown
 * transaction from before is looked up in the ledger.
 */
import { randomBytes } from 'node:crypto';
import {
  type DataTable,
  type FoldTotals,
  judgeLedger,
  type Names,
  NO_HASH,
  NO_SMALL_STATE,
  type OperatorNote,
  RecordFormatError,
  raiseAssignment,
  readRecord,
  readRecordHeader,
  recordHash,
  repairedShard,
  type ShardEntry,
  type ShardEvent,
  SpillError,
  shardOf,
  type Topology,
  type Watermark,
  type Witness,
  writeRecord,
} from '@spill/core';
import type { NatsConnection } from '../nats/connect.js';
import type { HeartbeatStore } from '../nats/heartbeat-store.js';
import { createLog, JetStreamLog, LogMissingError } from '../nats/log.js';
import { restoreLogConfig } from '../nats/restore-log-config.js';
import { readServerTime } from '../nats/server-time.js';
import type { TopologyStore } from '../nats/topology-store.js';
import { readWitnessFiles } from '../shard/witness-file.js';
import { allLost, summarize } from './all-lost.js';
import { type Remembered, type ScannedLog, scanLog } from './scan-log.js';

export interface RepairShard {
  readonly nc: NatsConnection;
  readonly names: Names;
  readonly topology: TopologyStore;
  readonly heartbeats: Pick<HeartbeatStore, 'read'>;
  readonly table: Pick<DataTable, 'foldTotals' | 'ledgerOf' | 'resetWatermark'>;
  readonly shard: number;
  /** false: nothing is changed, the report says what would be lost. */
  readonly acceptLoss: boolean;
  /** Fold everything kept into a ledger that is not the one of before: right only where the rows don't hold it yet. */
  readonly acceptNewLedger: boolean;
  readonly note: OperatorNote;
  /** A node's data folder on this machine, where there is one: its witness files remember the end of the log. */
  readonly dataDir: string | null;
  /** Microseconds since 1970. */
  readonly now: () => number;
}

export interface RepairReport {
  readonly shard: number;
  readonly repaired: boolean;
  /** Why the shard was damaged, as the topology has it. */
  readonly reason: string;
  readonly former_log_id: string;
  /** The log id under which the log goes on; null: nothing was changed. */
  readonly log_id: string | null;
  /** The records that are kept, and the transactions in them; `to` below `from`: none. */
  readonly kept: { readonly from: number; readonly to: number; readonly transactions: number };
  /** How far the log was folded: what is lost at or below this is in the ledger all the same. */
  readonly folded_up_to: number;
  /** What is wrong with the ledger, so that all that is kept would count a second time; null: nothing. */
  readonly new_ledger: string | null;
  readonly lost: readonly {
    readonly from: number;
    readonly to: number;
    /** null: the log does not tell. */
    readonly transactions: number | null;
    readonly sum: string | null;
    readonly why: string;
  }[];
  /** What was lost, in one text; the same stands in the log (`rebased`) and among the operators' actions. */
  readonly summary: string;
}

const FENCED_MAX = 3;

/**
 * @throws SpillError `not_found` for a shard that is not there, `conflict` for one that is not damaged or whose stream's
 *   configuration can't be put right, or whose ledger is another than before without `acceptNewLedger`; DataTableUnavailableError; what NATS throws. Whatever was thrown: run it again.
 */
export async function repairShard(repair: RepairShard): Promise<RepairReport> {
  const { topology, shard, table } = repair;
  const stored = (await topology.require()).topology;
  const entry = damagedEntry(stored, shard);
  const totals = (await table.foldTotals()).find(({ watermark, current }) => current && watermark.shard === shard);
  const witnesses = await readWitnesses(repair);
  for (let attempt = 1; ; attempt++) {
    const earlier = await ownRebased(repair, entry);
    const scanned = await scan(repair, stored, entry, rememberedOf(entry, totals ?? null, witnesses));
    const { ledgerId, newLedger } = await lookAtLedger(repair, stored, [entry.logId, earlier?.logId], scanned);
    const lost = earlier ? [] : allLost(scanned, entry, totals ?? null, witnesses);
    const summary = earlier?.lost ?? summarize(entry, lost, totals ?? null, scanned);
    const report = (logId: string | null): RepairReport => ({
      shard,
      repaired: logId !== null,
      reason: entry.reason ?? 'damaged',
      former_log_id: entry.logId,
      log_id: logId,
      kept: {
        from: scanned?.first ?? 1,
        to: scanned?.last ?? 0,
        transactions: Number(scanned?.kept.count ?? 0n),
      },
      folded_up_to: totals?.watermark.logId === entry.logId ? totals.watermark.sequence : 0,
      new_ledger: newLedger,
      lost: lost.map(({ from, to, transactions, why }) => ({
        from,
        to,
        transactions: transactions && Number(transactions.count),
        sum: transactions?.sum.toString() ?? null,
        why,
      })),
      summary,
    });
    if (!repair.acceptLoss) return report(null);
    if (newLedger !== null && !repair.acceptNewLedger) throw new SpillError('conflict', newLedger);

    const seen = [
      scanned?.highestAssignment ?? 0,
      totals?.watermark.assignment ?? 0,
      ...witnesses.map((witness) => witness.assignment),
    ];
    const raised = await topology.change((now) => {
      damagedEntry(now, shard);
      return raiseAssignment(now, shard, entry.node, Math.max(...seen));
    });
    const { assignment } = shardOf(raised.topology, shard) as ShardEntry;
    const rebased = earlier ?? (await rebase(repair, raised.topology, entry, scanned, assignment, summary));
    if (!rebased) {
      if (attempt < FENCED_MAX) continue;
      throw new SpillError(
        'conflict',
        `something else writes to the log of shard ${shard}: find out what, then try again`,
      );
    }
    const ledger = { id: ledgerId, renew: newLedger !== null };
    const foldsInto = await resetWatermark(repair, rebased.logId, ledger, assignment, summary);
    await topology.change((now) => {
      if (shardOf(now, shard)?.logId === rebased.logId) return null;
      return repairedShard(now, shard, {
        logId: rebased.logId,
        ledgerId: foldsInto,
        assignmentAbove: assignment,
        epochAbove: rebased.epoch,
        sequence: rebased.sequence,
        state: rebased.closed ? 'closed' : 'open',
      });
    });
    return report(rebased.logId);
  }
}

function damagedEntry(topology: Topology, shard: number): ShardEntry {
  const entry = shardOf(topology, shard);
  if (!entry) throw new SpillError('not_found', `there is no shard ${shard}; spill shard list shows them all`);
  if (entry.state !== 'damaged') {
    throw new SpillError('conflict', `shard ${shard} is ${entry.state}, not damaged: there is nothing to repair`);
  }
  return entry;
}

interface Rebased {
  readonly sequence: number;
  readonly logId: string;
  readonly epoch: number;
  readonly closed: boolean;
  readonly lost: string;
}

/** The end of an earlier run of this repair that was cut short. */
async function ownRebased(repair: RepairShard, entry: ShardEntry): Promise<Rebased | null> {
  try {
    const last = await (await openLog(repair)).last();
    if (!last) return null;
    const { logId, epoch, events } = readRecord(last.bytes);
    const [first] = events;
    if (first?.type !== 'rebased' || first.formerLogId !== entry.logId || logId === entry.logId) return null;
    return { sequence: last.sequence, logId, epoch, closed: first.small.closed, lost: first.lost };
  } catch (error) {
    if (error instanceof LogMissingError || error instanceof RecordFormatError) return null;
    throw error;
  }
}

/** null: there is no stream. */
async function scan(
  repair: RepairShard,
  topology: Topology,
  entry: ShardEntry,
  remembered: readonly Remembered[],
): Promise<ScannedLog | null> {
  try {
    return await scanLog(await openLog(repair), topology, entry, remembered);
  } catch (error) {
    if (error instanceof LogMissingError) return null;
    throw error;
  }
}

function openLog({ nc, names, shard }: RepairShard): Promise<JetStreamLog> {
  return JetStreamLog.open(nc, names, shard, 10_000);
}

async function readWitnesses({ heartbeats, shard, dataDir }: RepairShard): Promise<Witness[]> {
  const heartbeat = await heartbeats.read(shard);
  const files = dataDir === null ? [] : readWitnessFiles(dataDir, shard);
  return heartbeat ? [...files, { ...heartbeat, from: 'the heartbeat of its node' }] : files;
}

/** Of the ledger that everything kept would be folded into. */
async function lookAtLedger(
  { table, shard }: RepairShard,
  topology: Topology,
  logIds: readonly (string | undefined)[],
  scanned: ScannedLog | null,
): Promise<{ ledgerId: string; newLedger: string | null }> {
  const { ledgerId, watermark } = await table.ledgerOf(shard);
  const hasWatermark = watermark !== null && logIds.includes(watermark.logId);
  const foldedUpTo = scanned?.small.foldedUpTo ?? 0;
  return { ledgerId, newLedger: judgeLedger(topology, { shard, ledgerId, hasWatermark, foldedUpTo }) };
}

/** What the data table and the witnesses remember of this very log. */
function rememberedOf(entry: ShardEntry, totals: FoldTotals | null, witnesses: readonly Witness[]): Remembered[] {
  const watermark = totals?.watermark;
  const folded =
    watermark?.logId === entry.logId && watermark.sequence > 0 ? [{ ...watermark, from: 'the data table' }] : [];
  return [...folded, ...witnesses.filter((witness) => witness.logId === entry.logId)];
}

/**
 * Appends `rebased`, expecting exactly the last sequence; where the stream is gone, it is made anew first. null: something
 * else was written meanwhile.
 */
async function rebase(
  repair: RepairShard,
  topology: Topology,
  entry: ShardEntry,
  scanned: ScannedLog | null,
  assignment: number,
  lost: string,
): Promise<Rebased | null> {
  const { nc, names, shard, note } = repair;
  const now = Math.min(repair.now(), await readServerTime(nc, names));
  if (!scanned) {
    const small = { ...NO_SMALL_STATE, horizon: now, epoch: topology.epoch };
    await createLog(nc, names, { shard, logId: randomBytes(16).toString('hex'), replicas: entry.replicas, small });
    scanned = await scanLog(await openLog(repair), topology, entry, []);
  }
  const log = await openLog(repair);
  if ((await log.info()).problems.length > 0) await repairConfig(repair, entry);
  const { small, kept, lastBytes, lastBelieved } = scanned;
  const sequence = scanned.last + 1;
  const replayFrom = lastBelieved?.header.replayFrom ?? sequence;
  const next = {
    horizon: Math.max(small.horizon, now),
    // Nothing is forgotten, and everything up to here is folded again, from the log itself.
    forgottenBelow: 0,
    foldedUpTo: sequence,
    epoch: small.epoch,
    seals: small.seals,
    adoptions: small.adoptions,
    settled: small.settled,
    closed: small.closed,
  };
  const event: ShardEvent = {
    type: 'rebased',
    formerLogId: entry.logId,
    assignment,
    lost,
    who: note.who,
    why: note.why,
    small: next,
  };
  const logId = randomBytes(16).toString('hex');
  const bytes = writeRecord({
    logId,
    previous: lastBytes ? recordHash(lastBytes) : NO_HASH,
    assignment,
    number: scanned.highestNumber + 1,
    // The running numbers of a log id begin where its watermark does: what is kept is all there is.
    count: Number(kept.count),
    sum: kept.sum,
    replayFrom: replayFrom >= scanned.first && replayFrom <= sequence ? replayFrom : Math.min(scanned.first, sequence),
    epoch: small.epoch,
    events: small.closed ? [event, { type: 'closed' }] : [event],
  });
  const outcome = await log.append(bytes, scanned.last);
  if (outcome.outcome === 'stored') return { sequence, logId, epoch: small.epoch, closed: small.closed, lost };
  if (outcome.outcome === 'fenced') return null;
  throw new SpillError('unavailable', `the log of shard ${shard} refuses the repair: ${outcome.detail}`);
}

async function repairConfig({ nc, names, shard }: RepairShard, entry: ShardEntry): Promise<void> {
  try {
    await restoreLogConfig(nc, names, shard, entry.replicas);
  } catch (error) {
    throw new SpillError(
      'conflict',
      `the configuration of stream ${names.logStream(shard)} can't be put right (${(error as Error).message}): delete ` +
        'the stream once its records are saved elsewhere, and repair again',
      { cause: error },
    );
  }
}

/** Just below the oldest kept record; once only, whatever is repeated. */
async function resetWatermark(
  repair: RepairShard,
  logId: string,
  ledger: { readonly id: string; readonly renew: boolean },
  assignment: number,
  lost: string,
): Promise<string> {
  const { table, shard, note } = repair;
  const before = await table.ledgerOf(shard);
  if (before.watermark?.logId === logId) return before.ledgerId;
  const log = await openLog(repair);
  const { firstSequence } = await log.info();
  const first = firstSequence > 1 ? await log.get(firstSequence) : null;
  const watermark: Watermark = { shard, logId, assignment, ...placeBefore(firstSequence, first?.bytes ?? null) };
  return await table.resetWatermark(watermark, ledger, { who: note.who, why: `${note.why} (${lost})` });
}

/** As the shard will judge it: by the first kept record's header, or, where that can't be read, as before any record. */
function placeBefore(
  firstSequence: number,
  first: Uint8Array | null,
): { sequence: number; number: number; hash: string } {
  const sequence = firstSequence - 1;
  if (first) {
    try {
      const { number, previous } = readRecordHeader(first);
      return { sequence, number: number - 1, hash: previous };
    } catch (error) {
      if (!(error instanceof RecordFormatError)) throw error;
    }
  }
  return { sequence, number: 0, hash: NO_HASH };
}
