import { setTimeout as delay } from 'node:timers/promises';
import { firstRecord, type Names, readRecord, recordHash, type SmallState } from '@spill/core';
import {
  DiscardPolicy,
  ErrorCode,
  type JetStreamClient,
  type JetStreamManager,
  type NatsConnection,
  NatsError,
  RetentionPolicy,
  StorageType,
  type StreamConfig,
  type StreamInfo,
} from 'nats';
import { notOlder } from './not-older.js';
import { oncePlaced } from './once-placed.js';
import { readStream } from './read-stream.js';
import { isWrongSequence } from './topology-store.js';

/** A record as the log holds it. `time`: JetStream's timestamp, microseconds. */
export interface LogMessage {
  readonly sequence: number;
  readonly time: number;
  readonly bytes: Uint8Array;
}

export interface LogInfo {
  readonly firstSequence: number;
  readonly lastSequence: number;
  readonly bytes: number;
  readonly replicas: number;
  readonly leader: string | null;
  /** What of the stream's configuration could lose records: sentences; empty is good. */
  readonly problems: readonly string[];
}

export type AppendOutcome =
  | { readonly outcome: 'stored'; readonly sequence: number }
  /** Somebody else has written: this writer is fenced for good. */
  | { readonly outcome: 'fenced'; readonly detail: string }
  /** Certainly not stored (disk full, no leader): the same bytes may be tried again. */
  | { readonly outcome: 'refused'; readonly detail: string };

/** It can't be told whether the record was stored: exit, open again, and let `opened` decide. */
export class AmbiguousAppendError extends Error {
  override readonly name = 'AmbiguousAppendError';
}

/** There is no stream for this log. Never created by opening: an absent log is damage. */
export class LogMissingError extends Error {
  override readonly name = 'LogMissingError';
}

const STREAM_NOT_FOUND = 10_059;
const NO_MESSAGE_FOUND = 10_037;
const READ_ONE_BY_ONE_MAX = 64;
/** What was waited for in vain is taken as lost for so long. */
const LOST_MS = 60_000;
const FIRST_APPEND_MS = 20_000;
const FIRST_APPEND_POLL_MS = 250;

/**
 * One shard's log: a JetStream stream, written through a connection of its own that never reconnects by itself.
 * One record in flight at a time; the caller sees to that.
 */
export class JetStreamLog {
  private readonly js: JetStreamClient;
  private readonly stream: string;
  private readonly subject: string;
  /** What was read or acknowledged here: where the log ends at least, and where it begins at least. */
  private end = 0;
  private begin = 0;
  private replicas = 1;
  private lostUntil = 0;

  private constructor(
    readonly nc: NatsConnection,
    private readonly jsm: JetStreamManager,
    names: Names,
    readonly shard: number,
    private readonly appendTimeoutMs: number,
  ) {
    this.js = nc.jetstream({ timeout: appendTimeoutMs });
    this.stream = names.logStream(shard);
    this.subject = names.logSubject(shard);
  }

  static async open(nc: NatsConnection, names: Names, shard: number, appendTimeoutMs = 5_000): Promise<JetStreamLog> {
    const jsm = await nc.jetstreamManager({ checkAPI: false, timeout: 5_000 });
    return new JetStreamLog(nc, jsm, names, shard, appendTimeoutMs);
  }

  /** @throws LogMissingError */
  async info(): Promise<LogInfo> {
    const info = await this.notOlder(
      () => this.infoOnce(),
      ({ firstSequence, lastSequence }, { begin, end }) => lastSequence < end || firstSequence < begin,
    );
    this.end = Math.max(this.end, info.lastSequence);
    this.begin = Math.max(this.begin, info.firstSequence);
    this.replicas = info.replicas;
    return info;
  }

  /**
   * Appends one record, fenced: stored only as the very next after `expectedLast`.
   *
   * @throws AmbiguousAppendError
   */
  async append(bytes: Uint8Array, expectedLast: number): Promise<AppendOutcome> {
    try {
      const ack = await this.js.publish(this.subject, bytes, {
        expect: { lastSequence: expectedLast, streamName: this.stream },
        timeout: this.appendTimeoutMs,
      });
      if (ack.seq !== expectedLast + 1 || ack.duplicate) {
        throw new AmbiguousAppendError(
          `record ${expectedLast + 1} of shard ${this.shard} was acknowledged as ${ack.seq}${ack.duplicate ? ', a duplicate' : ''}`,
        );
      }
      this.end = ack.seq;
      return { outcome: 'stored', sequence: ack.seq };
    } catch (error) {
      if (error instanceof AmbiguousAppendError) throw error;
      if (isWrongSequence(error)) return { outcome: 'fenced', detail: (error as Error).message };
      if (error instanceof NatsError && (error.api_error || error.code === ErrorCode.NoResponders)) {
        return { outcome: 'refused', detail: error.api_error?.description ?? 'no JetStream server takes the record' };
      }
      throw new AmbiguousAppendError(`record ${expectedLast + 1} of shard ${this.shard} was not answered`, {
        cause: error,
      });
    }
  }

  /** The last record, or null in an empty stream. @throws LogMissingError */
  async last(): Promise<LogMessage | null> {
    const last = await this.notOlder(
      () => this.message({ last_by_subj: this.subject }),
      (message, { end }) => (message?.sequence ?? 0) < end,
    );
    this.end = Math.max(this.end, last?.sequence ?? 0);
    return last;
  }

  /** null: not there (any more). @throws LogMissingError */
  async get(sequence: number): Promise<LogMessage | null> {
    return this.notOlder(
      () => this.message({ seq: sequence }),
      (message, { begin, end }) => message === null && sequence >= begin && sequence <= end,
    );
  }

  /**
   * The records from `from` to `to`, both inclusive, in order; what the log has lost of them is left out.
   *
   * @throws Error where nothing arrives for 15 s.
   */
  async *read(from: number, to: number): AsyncGenerator<LogMessage> {
    let next = from;
    if (to - from < READ_ONE_BY_ONE_MAX) {
      // Each goes to the stream's leader; a consumer would cost more, and may be put on a server that is just gone.
      for (; next <= to; next++) {
        const message = await this.get(next);
        // One that is lost is passed over, as a consumer would; whoever reads looks at the chain.
        if (message) yield message;
      }
      return;
    }
    yield* readStream(this.nc, this.stream, next, to);
  }

  /** Removes the records below `sequence`; the caller has asked `mayPurgeBelow`. Returns how many went. */
  async purgeBelow(sequence: number): Promise<number> {
    if (!Number.isSafeInteger(sequence) || sequence < 2) {
      throw new RangeError(`a purge below ${sequence} would empty the log`);
    }
    const { purged } = await this.jsm.streams.purge(this.stream, { seq: sequence });
    this.begin = Math.max(this.begin, sequence);
    return purged;
  }

  /** With one copy there is no leader but its server, and what it does not have is lost. */
  private async notOlder<T>(
    read: () => Promise<T>,
    isOlder: (told: T, known: { readonly begin: number; readonly end: number }) => boolean,
  ): Promise<T> {
    const mayBeOlder = this.replicas > 1 && performance.now() > this.lostUntil;
    if (!mayBeOlder) return read();
    const answer = await notOlder(read, () => ({ begin: this.begin, end: this.end }), isOlder);
    // Many records may be lost; the wait for the first of them was long enough for all.
    if (answer.isOlder) this.lostUntil = performance.now() + LOST_MS;
    return answer.told;
  }

  private async infoOnce(): Promise<LogInfo> {
    try {
      return describe(await this.jsm.streams.info(this.stream));
    } catch (error) {
      throw this.missingOr(error);
    }
  }

  private async message(query: { seq: number } | { last_by_subj: string }): Promise<LogMessage | null> {
    try {
      const stored = await this.jsm.streams.getMessage(this.stream, query);
      return { sequence: stored.seq, time: stored.time.getTime() * 1000, bytes: stored.data };
    } catch (error) {
      if (errCode(error) === NO_MESSAGE_FOUND) return null;
      throw this.missingOr(error);
    }
  }

  private missingOr(error: unknown): unknown {
    if (errCode(error) !== STREAM_NOT_FOUND) return error;
    return new LogMissingError(`the stream ${this.stream} of shard ${this.shard} does not exist`, { cause: error });
  }
}

export interface CreateLog {
  readonly shard: number;
  /** 32 hexadecimal digits, random. */
  readonly logId: string;
  readonly replicas: number;
  readonly small: SmallState;
}

/**
 * Makes the stream of a new shard and writes record 1 (`created`). Repeating it after a crash in between is safe: where
 * record 1 is there and alone, its log id is returned.
 *
 * @returns the log id that the topology must name.
 * @throws Error where the stream holds more than a first record.
 */
export async function createLog(nc: NatsConnection, names: Names, create: CreateLog): Promise<string> {
  const jsm = await nc.jetstreamManager({ checkAPI: false, timeout: 10_000 });
  await ensureStream(jsm, names, create);
  const log = await JetStreamLog.open(nc, names, create.shard, 10_000);
  const record = firstRecord(create.shard, create.logId, create.small);
  const outcome = await appendFirst(log, record);
  if (outcome.outcome === 'stored') return create.logId;
  const last = await log.last();
  const first = last && readRecord(last.bytes);
  if (last?.sequence === 1 && first?.events[0]?.type === 'created') return first.logId;
  throw new Error(
    `the stream ${names.logStream(create.shard)} is there already, and it is not a new log (${outcome.outcome}: ` +
      `${outcome.detail}). If another spill cluster uses this server, give this one its own prefix (--prefix)`,
  );
}

/**
 * A stream that was just made, perhaps by another node at the same moment, elects its leader first. Whatever of the
 * tries was stored after all, the next one is fenced by it.
 */
async function appendFirst(log: JetStreamLog, record: Uint8Array): Promise<AppendOutcome> {
  const end = performance.now() + FIRST_APPEND_MS;
  for (;;) {
    try {
      const outcome = await log.append(record, 0);
      if (outcome.outcome !== 'refused' || performance.now() > end) return outcome;
    } catch (error) {
      if (!(error instanceof AmbiguousAppendError) || performance.now() > end) throw error;
    }
    await delay(FIRST_APPEND_POLL_MS);
  }
}

/** Deletes the stream of a retired shard. One that is gone already is gone. */
export async function deleteLog(nc: NatsConnection, names: Names, shard: number): Promise<void> {
  const jsm = await nc.jetstreamManager({ checkAPI: false, timeout: 10_000 });
  try {
    await jsm.streams.delete(names.logStream(shard));
  } catch (error) {
    if (errCode(error) !== STREAM_NOT_FOUND) throw error;
  }
}

async function ensureStream(jsm: JetStreamManager, names: Names, create: CreateLog): Promise<void> {
  try {
    await jsm.streams.info(names.logStream(create.shard));
  } catch (error) {
    if (errCode(error) !== STREAM_NOT_FOUND) throw error;
    await oncePlaced(() => jsm.streams.add(logConfig(names, create.shard, create.replicas)));
  }
}

/** What the stream of a log must be like: nothing in it drops or delays an acknowledged record. */
export function logConfig(names: Names, shard: number, replicas: number): Partial<StreamConfig> {
  return {
    name: names.logStream(shard),
    description: `spill: the log of shard ${shard}`,
    subjects: [names.logSubject(shard)],
    storage: StorageType.File,
    retention: RetentionPolicy.Limits,
    discard: DiscardPolicy.New,
    max_msgs: -1,
    max_bytes: -1,
    max_age: 0,
    max_msgs_per_subject: -1,
    num_replicas: replicas,
    deny_delete: true,
    deny_purge: false,
    allow_direct: false,
    allow_rollup_hdrs: false,
  };
}

/** Field by field: anything that could drop or delay an acknowledged record. */
function describe(info: StreamInfo): LogInfo {
  const config = info.config as StreamConfig & { persist_mode?: string; allow_msg_ttl?: boolean };
  const problems: string[] = [];
  const want = (holds: boolean, sentence: string): void => {
    if (!holds) problems.push(`stream ${config.name}: ${sentence}`);
  };
  want(config.storage === StorageType.File, `storage is ${config.storage}, it must be file`);
  want(config.retention === RetentionPolicy.Limits, `retention is ${config.retention}, it must be limits`);
  want(config.discard === DiscardPolicy.New, `discard is ${config.discard}, it must be new`);
  want(config.max_msgs === -1, `max_msgs is ${config.max_msgs}, there must be no limit`);
  want(config.max_bytes === -1, `max_bytes is ${config.max_bytes}, there must be no limit`);
  want(config.max_age === 0, `max_age is ${config.max_age}, there must be no limit`);
  want(config.max_msgs_per_subject === -1, `max_msgs_per_subject is ${config.max_msgs_per_subject}`);
  want(config.deny_delete === true, 'deny_delete must be true');
  want(!config.allow_rollup_hdrs, 'allow_rollup_hdrs must be false');
  want(!config.allow_msg_ttl, 'allow_msg_ttl must be false');
  want(config.persist_mode === undefined || config.persist_mode === 'default', 'persist_mode must not be async');
  return {
    firstSequence: info.state.first_seq,
    lastSequence: info.state.last_seq,
    bytes: info.state.bytes,
    replicas: config.num_replicas,
    leader: info.cluster?.leader ?? null,
    problems,
  };
}

/** Hash of a message's bytes, as the chain and the witnesses carry it. */
export function hashOf(message: LogMessage): string {
  return recordHash(message.bytes);
}

function errCode(error: unknown): number | undefined {
  return error instanceof NatsError ? error.api_error?.err_code : undefined;
}
