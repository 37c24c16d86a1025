/**
 * Opening a shard's log, in the order of the design: (1) the node has raised the assignment, (2) the process listens and
 * answers `unavailable`, and then here
 *
 * ```
 * 3 configuration ──▶ 4 witnesses ──▶ 5 last record ──▶ 6 append `opened` ──▶ 7 topology, replay ──▶ serve
 *                        ▲                 │                   │
 *                        └── read again ◀──┴─────── fenced ◀───┘
 * ```
 *
 * Witnesses are read before the record, or the record could be newer than what they vouch for. `opened` is written
 * before the log is read, or a record of a predecessor could still land after the reading.
 */
import {
  idHashKey,
  initialShardState,
  judgeLink,
  judgeOpening,
  judgeWitness,
  type LogRecord,
  linkOf,
  RecordFormatError,
  readRecord,
  recordHash,
  replayRecord,
  type ShardEntry,
  type ShardState,
  shardOf,
  slotOf,
  type Topology,
  type VouchedRecord,
  VouchedRecords,
  type Witness,
  writeRecord,
} from '@spill/core';
import { type JetStreamLog, type LogMessage, LogMissingError } from '../nats/log.js';
import { notOlder } from '../nats/not-older.js';
import type { TopologyStore } from '../nats/topology-store.js';

export type Opened =
  | {
      readonly outcome: 'serving' | 'fold_only';
      readonly state: ShardState;
      readonly topology: Topology;
      readonly lastRecordTime: number;
      /** The record in which an operator last accepted a loss, as far as the replay saw one; else 0. */
      readonly rebasedAt: number;
    }
  | { readonly outcome: 'superseded'; readonly detail: string }
  | { readonly outcome: 'damaged'; readonly missing: string };

export interface OpenShard {
  readonly log: JetStreamLog;
  readonly topologies: TopologyStore;
  readonly shard: number;
  readonly assignment: number;
  /** Read anew at each try. */
  readonly witnesses: () => Witness[];
  /** Each record of the replay, once it is in the state: for what is kept beside it. */
  readonly onReplayed: (message: LogMessage, record: LogRecord, hash: string) => void;
  /** A sentence for the log of the process. */
  readonly report: (message: string) => void;
}

/** How long a replica that lags behind a witness is given to catch up. */
const CATCH_UP_MS = 30_000;
/** One replica has nobody to catch up with: only a server that is still starting is waited for. */
const CATCH_UP_ALONE_MS = 2_000;
const CATCH_UP_POLL_MS = 1_000;

export async function openShard(open: OpenShard): Promise<Opened> {
  const started = performance.now();
  for (;;) {
    // Its node has raised the assignment: where it is lower, whoever answers is no leader any more, unless it is alone.
    const { told: topology } = await notOlder(
      async () => (await open.topologies.require()).topology,
      () => open.assignment,
      (told, assignment) => {
        const entry = shardOf(told, open.shard) ?? { assignment: 0, replicas: 1 };
        return entry.replicas > 1 && entry.assignment < assignment;
      },
    );
    const entry = shardOf(topology, open.shard);
    if (!entry) return { outcome: 'damaged', missing: `the topology does not name shard ${open.shard}` };
    if (entry.assignment > open.assignment) {
      return { outcome: 'superseded', detail: `the topology has assignment ${entry.assignment}` };
    }
    if (entry.state === 'damaged') {
      return { outcome: 'damaged', missing: entry.reason ?? 'marked damaged before' };
    }
    const read = await readEnd(open, entry);
    if ('outcome' in read) return read;
    const { last, verdict } = read;
    switch (verdict.verdict) {
      case 'damaged':
        return { outcome: 'damaged', missing: verdict.missing };
      case 'superseded':
        return { outcome: 'superseded', detail: `assignment ${verdict.assignment} has opened the log` };
      case 'behind':
        if (performance.now() - started > (entry.replicas > 1 ? CATCH_UP_MS : CATCH_UP_ALONE_MS))
          return { outcome: 'damaged', missing: verdict.missing };
        open.report(`${verdict.missing}; reading again`);
        await new Promise((resolve) => setTimeout(resolve, CATCH_UP_POLL_MS));
        continue;
      case 'fold_only':
        return replay(open, read.topology, last, 'fold_only');
      case 'append': {
        const opened = await appendOpened(open, last);
        if (opened === 'fenced') continue;
        const end = await open.log.get(opened);
        if (!end) return { outcome: 'damaged', missing: `record ${opened} (opened) is gone again` };
        // The topology once more, now that nobody else can write.
        return replay(open, (await open.topologies.require()).topology, readEndOf(end), 'serving');
      }
    }
  }
}

interface End {
  readonly message: LogMessage;
  readonly record: LogRecord;
  readonly hash: string;
}

/** @throws RecordFormatError naming the record. */
function readEndOf(message: LogMessage): End {
  try {
    return { message, record: readRecord(message.bytes), hash: recordHash(message.bytes) };
  } catch (error) {
    if (!(error instanceof RecordFormatError)) throw error;
    throw new RecordFormatError(`the last record ${message.sequence} cannot be read: ${error.message}`, {
      cause: error,
    });
  }
}

async function readEnd(
  open: OpenShard,
  before: ShardEntry,
): Promise<
  Extract<Opened, { outcome: 'damaged' }> | { last: End; topology: Topology; verdict: ReturnType<typeof judgeOpening> }
> {
  try {
    const info = await open.log.info();
    if (info.problems.length > 0) return { outcome: 'damaged', missing: info.problems.join('; ') };
    const witnesses = open.witnesses();
    const message = await open.log.last();
    if (!message) {
      const { firstSequence, lastSequence } = info;
      const missing =
        lastSequence < firstSequence
          ? 'the log is empty, though it was created with a first record'
          : `record ${lastSequence}, the last one, is missing or cannot be read`;
      return { outcome: 'damaged', missing };
    }
    if (message.sequence < info.lastSequence) {
      return { outcome: 'damaged', missing: `records ${message.sequence + 1} to ${info.lastSequence} are missing` };
    }
    const after = await open.log.info();
    if (after.lastSequence < message.sequence) {
      return { outcome: 'damaged', missing: `record ${message.sequence} was there and is gone` };
    }
    const last = readEndOf(message);
    const broken = await compareWitnesses(open.log, before.logId, witnesses, info.firstSequence, message.sequence);
    // After the record, or that of a successor who began in between would look like one that the topology forgot.
    const { told: topology } = await notOlder(
      async () => (await open.topologies.require()).topology,
      () => last.record.epoch,
      (told, epoch) => before.replicas > 1 && told.epoch < epoch,
    );
    const entry = shardOf(topology, open.shard) ?? before;
    const verdict = judgeOpening({
      logId: entry.logId,
      assignment: open.assignment,
      topologyAssignment: entry.assignment,
      last: {
        ...last.record,
        sequence: message.sequence,
        hash: last.hash,
        closed: last.record.events.some((event) => event.type === 'closed'),
      },
      witnesses,
    });
    if (verdict.verdict === 'superseded') return { last, topology, verdict };
    if (broken) return { outcome: 'damaged', missing: broken };
    if (last.record.epoch > topology.epoch) {
      return {
        outcome: 'damaged',
        missing: `the log has acted on epoch ${last.record.epoch}, the topology is at ${topology.epoch}: it lost something`,
      };
    }
    return { last, topology, verdict };
  } catch (error) {
    if (error instanceof LogMissingError || error instanceof RecordFormatError) {
      return { outcome: 'damaged', missing: error.message };
    }
    throw error;
  }
}

/**
 * Each witness against the very record that it remembers: a log that lost its end and has grown past it again is as long
 * as it should be. Witnesses of a former log id say nothing any more.
 */
async function compareWitnesses(
  log: JetStreamLog,
  logId: string,
  witnesses: readonly Witness[],
  firstSequence: number,
  lastSequence: number,
): Promise<string | null> {
  for (const witness of witnesses) {
    const { sequence } = witness;
    if (witness.logId !== logId || sequence < firstSequence || sequence >= lastSequence) continue;
    const message = await log.get(sequence);
    // Purged in between: it is folded.
    if (!message && (await log.info()).firstSequence > sequence) continue;
    if (!message) return `record ${sequence}, which ${witness.from} remembers, is missing`;
    const broken = judgeWitness(witness, { logId, sequence, hash: recordHash(message.bytes) });
    if (broken) return broken;
  }
  return null;
}

/** `opened` goes before the reading, so it carries on what the last record's header says. */
async function appendOpened(open: OpenShard, last: End): Promise<number | 'fenced'> {
  const bytes = writeRecord({
    ...last.record,
    previous: last.hash,
    assignment: open.assignment,
    number: last.record.number + 1,
    events: [{ type: 'opened', assignment: open.assignment }],
  });
  const outcome = await open.log.append(bytes, last.message.sequence);
  if (outcome.outcome === 'stored') return outcome.sequence;
  if (outcome.outcome === 'fenced') {
    open.report(`another record came before 'opened': ${outcome.detail}; reading again`);
    return 'fenced';
  }
  throw new LogRefusesError(`the log refuses 'opened': ${outcome.detail}`);
}

/** The log certainly did not take `opened`: no quorum, no leader, a full disk. Wait and try again. */
export class LogRefusesError extends Error {
  override readonly name = 'LogRefusesError';
}

/** Reads the log from where the last record says that recovery begins, and checks every link of the chain. */
async function replay(
  open: OpenShard,
  topology: Topology,
  end: End,
  outcome: 'serving' | 'fold_only',
): Promise<Opened> {
  const state = initialShardState({
    shard: open.shard,
    pool: shardOf(topology, open.shard)!.pool,
    largeThreshold: BigInt(topology.largeThreshold),
    idHashKey: idHashKey(topology.secret),
    slotOf,
  });
  const { replayFrom } = end.record;
  const info = await open.log.info();
  if (info.firstSequence > replayFrom) {
    return {
      outcome: 'damaged',
      missing: `records ${replayFrom} to ${info.firstSequence - 1} are needed and gone; the log begins at ${info.firstSequence}`,
    };
  }
  let lastRecordTime = 0;
  // What a repair accepted as lost is passed over: it is on record in the `rebased` that comes after it.
  let missing: string | null = null;
  let rebasedAt = 0;
  const records = new VouchedRecords<LogMessage>();
  const take = ({ message, record, hash }: VouchedRecord<LogMessage>): void => {
    if (record.events[0]?.type === 'rebased') {
      missing = null;
      rebasedAt = message.sequence;
    }
    missing ??= state.sequence === 0 ? judgeFirst(message, record) : judgeLink(linkOf(state), record, message.sequence);
    replayRecord(state, record, message.sequence, hash);
    open.onReplayed(message, record, hash);
    lastRecordTime = message.time;
  };
  for await (const message of open.log.read(replayFrom, end.message.sequence)) {
    const { vouched, unfit } = records.next(message);
    if (vouched) take(vouched);
    for (const { why } of unfit) missing ??= why;
  }
  const rest = records.end();
  if (rest) take(rest);
  if (missing) return { outcome: 'damaged', missing };
  if (state.hash !== end.hash) {
    return { outcome: 'damaged', missing: `record ${end.message.sequence} was read twice and differed` };
  }
  return { outcome, state, topology, lastRecordTime, rebasedAt };
}

/** The first record of a replay has nothing before it to be chained to, unless it is the log's very first. */
function judgeFirst(message: LogMessage, record: LogRecord): string | null {
  if (message.sequence === 1 && record.number !== 1) return `record 1 has number ${record.number}`;
  return null;
}
