/** Reads a damaged log from its oldest kept record to its end: what may be believed, and what is lost. */
import {
  type CountAndSum,
  evolve,
  idHashKey,
  initialShardState,
  LogWalk,
  type RecordHeader,
  type ShardEntry,
  type SmallState,
  slotOf,
  type Topology,
  type WalkedRecord,
} from '@spill/core';
import type { JetStreamLog, LogMessage } from '../nats/log.js';

/** Records of a log that are lost, both ends inclusive. */
export interface LostPart {
  readonly from: number;
  readonly to: number;
  /** How many transactions, and their sum; null: the log does not tell. */
  readonly transactions: CountAndSum | null;
  /** A sentence. */
  readonly why: string;
}

export interface ScannedLog {
  /** The oldest kept record and the last sequence that the stream has given; `first` > `last`: nothing is kept. */
  readonly first: number;
  readonly last: number;
  /** Of the first kept record; null: it cannot be read. */
  readonly firstHeader: RecordHeader | null;
  /** Of the last record that may be believed; null: there is none. */
  readonly lastBelieved: { readonly sequence: number; readonly header: RecordHeader } | null;
  /** Running count and sum before the first record that may be believed, and where it is. */
  readonly firstBelieved: { readonly sequence: number; readonly before: CountAndSum; readonly logId: string } | null;
  /** The last message as it is, read or not; null: nothing is kept. */
  readonly lastBytes: Uint8Array | null;
  /** Of the records that may be believed. */
  readonly kept: CountAndSum;
  readonly highestAssignment: number;
  readonly highestNumber: number;
  /** What these records say of the shard. */
  readonly small: SmallState;
  readonly lost: readonly LostPart[];
}

/** A record of the log as somebody outside it remembers it. */
export interface Remembered {
  readonly from: string;
  readonly sequence: number;
  readonly hash: string;
}

export async function scanLog(
  log: JetStreamLog,
  topology: Topology,
  entry: ShardEntry,
  remembered: readonly Remembered[],
): Promise<ScannedLog> {
  const info = await log.info();
  const lastMessage = await log.last();
  const walk = new LogWalk<LogMessage>(info.firstSequence);
  const state = initialShardState({
    shard: entry.id,
    pool: entry.pool,
    largeThreshold: BigInt(topology.largeThreshold),
    idHashKey: idHashKey(topology.secret),
    slotOf,
  });
  let firstBelieved: ScannedLog['firstBelieved'] = null;
  let lastBelieved: ScannedLog['lastBelieved'] = null;
  let firstHeader: RecordHeader | null = null;
  let highestAssignment = 0;
  let highestNumber = 0;
  let lost: LostPart[] = [];
  const take = (records: readonly WalkedRecord<LogMessage>[]): void => {
    for (const { message, record, rows, hash } of records) {
      const before = { count: BigInt(record.count) - rows.count, sum: record.sum - rows.sum };
      if (record.events[0]?.type === 'rebased') lost = [];
      else if (lastBelieved)
        lost.push(...between(lastBelieved, { sequence: message.sequence, header: record }, before));
      for (const memory of remembered) {
        if (memory.sequence === message.sequence && memory.hash !== hash) lost.push(another(memory));
      }
      firstBelieved ??= { sequence: message.sequence, before, logId: record.logId };
      lastBelieved = { sequence: message.sequence, header: record };
      if (message.sequence === info.firstSequence) firstHeader = record;
      highestAssignment = Math.max(highestAssignment, record.assignment);
      highestNumber = Math.max(highestNumber, record.number);
      for (const event of record.events) if (event.type !== 'stored') evolve(state, event, message.sequence);
      state.small = { ...state.small, epoch: Math.max(state.small.epoch, record.epoch) };
    }
  };
  if (lastMessage) {
    for await (const message of log.read(info.firstSequence, lastMessage.sequence)) take(walk.take(message));
  }
  take(walk.finish(info.lastSequence));
  return {
    first: info.firstSequence,
    last: info.lastSequence,
    firstHeader,
    firstBelieved,
    lastBelieved,
    lastBytes: lastMessage?.bytes ?? null,
    kept: walk.walked,
    highestAssignment,
    highestNumber,
    small: state.small,
    lost: [...lost, ...edges(info, firstBelieved, lastBelieved)],
  };
}

/** An older copy of the log that has grown on: it holds other records than were acknowledged since it was made. */
function another({ from, sequence }: Remembered): LostPart {
  const why = `record ${sequence} is another than ${from} remembers: an older copy of the log has grown on`;
  return { from: sequence, to: sequence, transactions: null, why };
}

interface Place {
  readonly sequence: number;
  readonly header: RecordHeader;
}

/** What is lost between two records that follow each other among those that may be believed. */
function between(from: Place, to: Place, beforeTo: CountAndSum): LostPart[] {
  const sameLog = from.header.logId === to.header.logId;
  const gone = to.sequence - from.sequence - 1;
  const transactions = sameLog
    ? { count: beforeTo.count - BigInt(from.header.count), sum: beforeTo.sum - from.header.sum }
    : null;
  if (gone > 0) {
    const why = `records ${from.sequence + 1} to ${to.sequence - 1} are missing, altered or cannot be read`;
    return [{ from: from.sequence + 1, to: to.sequence - 1, transactions, why }];
  }
  if (sameLog && to.header.number === from.header.number + 1 && transactions?.count === 0n && transactions.sum === 0n) {
    return [];
  }
  const records = sameLog ? `${to.header.number - from.header.number - 1} records` : 'records';
  const why = `${records} are missing between record ${from.sequence} and record ${to.sequence}`;
  return [{ from: to.sequence, to: to.sequence, transactions, why }];
}

/** What cannot be read before the first and after the last record that may be believed. */
function edges(
  info: { readonly firstSequence: number; readonly lastSequence: number },
  firstBelieved: ScannedLog['firstBelieved'],
  lastBelieved: ScannedLog['lastBelieved'],
): LostPart[] {
  const parts: LostPart[] = [];
  const unreadable = (from: number, to: number): void => {
    if (from <= to) parts.push({ from, to, transactions: null, why: `records ${from} to ${to} cannot be read` });
  };
  if (!firstBelieved || !lastBelieved) {
    unreadable(info.firstSequence, info.lastSequence);
    return parts;
  }
  unreadable(info.firstSequence, firstBelieved.sequence - 1);
  unreadable(lastBelieved.sequence + 1, info.lastSequence);
  return parts;
}
