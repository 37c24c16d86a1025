/**
 * The intake of a shard: what arrives while a record is being stored is decided and gathers in the next one. One record
 * in flight, no timers.
 *
 * ```
 *            request           decide, apply           build, append                acknowledged
 *  waiting ────────▶ [queue] ────────────────▶ [open] ───────────────▶ [in flight] ───────────────▶ answers
 *                       ▲                                                   │ refused: certainly not stored
 *                       │ ledger answered                                   ▼
 *                   [asking]                                            [refusing] ── the same bytes again ──▶ acknowledged
 * ```
 *
 * While the log refuses, requests are answered `unavailable` at once and the record is kept as it is: its transactions
 * are decided, and a retry that meets one waits for the very record. So nothing is ever taken back.
 */
import {
  accountName,
  type Batch,
  BatchFormatError,
  batchAccount,
  decide,
  endRecord,
  eventBytes,
  evolve,
  type FirstSeen,
  RECORD_HEADER_BYTES,
  ReplyCode,
  readBatch,
  readSubmitRequest,
  recordHash,
  type ShardEvent,
  type ShardState,
  type SubmitReply,
  sealRecord,
  writeSubmitRefusal,
  writeSubmitReply,
} from '@spill/core';
import { monotonicMicros, wallMicros } from './clock.js';

export interface Bounds {
  readonly recordBytesMax: number;
  readonly waitingBytesMax: number;
  readonly pendingBytesMax: number;
  readonly idsMax: number;
  readonly maxClockSkewMicros: number;
}

export interface AcknowledgedRecord {
  readonly sequence: number;
  readonly number: number;
  readonly hash: string;
  /** The first sequence that recovery needs once this record is the last one. */
  readonly replayFrom: number;
  readonly bytes: number;
  readonly rows: number;
  /** Places of its transactions among the known ids. */
  readonly fromPlace: number;
  readonly toPlace: number;
}

export interface CommitPorts {
  /** Throws where it can't be told whether the record was stored; fenced and refused are outcomes. */
  append(
    bytes: Uint8Array,
    expectedLast: number,
  ): Promise<{ outcome: 'stored' | 'fenced' | 'refused'; detail?: string }>;
  /** Events to put before the transactions of the next record: the horizon, a newer epoch. */
  housekeeping(): ShardEvent[];
  ownedSlots(): Uint8Array;
  pendingBytes(): number;
  /** Before the answers of the record go out. */
  onAcknowledged(record: AcknowledgedRecord): void;
  /** Answers of the ledger, in the order asked. */
  askLedger(keys: { account: string; id: string }[]): Promise<(FirstSeen | null | 'unreachable')[]>;
  /** This process must not answer anybody any more. */
  onFatal(reason: 'fenced' | 'ambiguous', detail: string): void;
  onRefusing(detail: string | null): void;
}

interface Waiting {
  readonly batch: Batch;
  readonly deadline: number;
  readonly respond: (reply: Uint8Array) => void;
  ledger?: Map<number, FirstSeen | null | 'unreachable'>;
}

/** Held back until the record that it rests on is acknowledged. */
interface Answer {
  readonly respond: (reply: Uint8Array) => void;
  readonly reply: SubmitReply;
}

/** Events of the shard's own making: decided when their record is built, answered when it is acknowledged. */
interface Control {
  readonly decide: (sequence: number) => readonly ShardEvent[];
  readonly resolve: (sequence: number) => void;
}

/** A record in the making: its events are applied to the state already. */
interface OpenRecord {
  readonly events: ShardEvent[];
  readonly controls: Control[];
  /** Of the record, were it built now. */
  bytes: number;
  rows: number;
  readonly fromPlace: number;
  answers: Answer[];
  afterAck: ((acknowledged: boolean) => void)[];
}

interface InFlight extends Pick<OpenRecord, 'controls' | 'answers' | 'afterAck'> {
  readonly bytes: Uint8Array;
  readonly record: AcknowledgedRecord;
}

/** Decided in one go; then whatever else has arrived has its turn, the acknowledgement above all. */
const TURN_BYTES = 64 * 1024;
const LEDGER_QUESTIONS_MAX = 32;
const PROBE_MS = 1_000;
const RETRY_AFTER_MS = 50;

export class GroupCommit {
  private readonly queue: Waiting[] = [];
  private readonly controls: Control[] = [];
  private open: OpenRecord | null = null;
  private waitingBytes = 0;
  private asking = 0;
  private inFlight: InFlight | null = null;
  private refusing: string | null = null;
  private scheduled = false;
  private stopped = false;
  private wantsRecord = false;
  private idle: (() => void)[] = [];
  accepted = 0;

  constructor(
    private readonly state: ShardState,
    private readonly assignment: number,
    private readonly bounds: Bounds,
    private readonly ports: CommitPorts,
  ) {}

  get queued(): number {
    return this.queue.length;
  }

  get refusingBecause(): string | null {
    return this.refusing;
  }

  /** Takes one request; `respond` is called once, maybe at once. */
  submit(request: Uint8Array, respond: (reply: Uint8Array) => void): void {
    const received = this.receive(request);
    if (received instanceof Uint8Array) respond(received);
    else this.enqueue({ ...received, respond });
  }

  /** What is to wait for the next record, or the answer to give at once. */
  private receive(request: Uint8Array): Omit<Waiting, 'respond'> | Uint8Array {
    const parsed = readSubmitRequest(request);
    if (!parsed) return this.failure(ReplyCode.malformed, 'a request is shorter than its header');
    if (this.refusing) return this.failure(ReplyCode.unavailable, `the log refuses records: ${this.refusing}`);
    const overload = this.overloadedBy(parsed.batch.byteLength);
    if (overload) return this.failure(ReplyCode.overloaded, overload, RETRY_AFTER_MS);
    const bytesMax = this.bounds.recordBytesMax;
    if (parsed.batch.byteLength > bytesMax) {
      const message = `a batch of ${parsed.batch.byteLength} bytes is larger than record_bytes_max (${bytesMax})`;
      return this.failure(ReplyCode.malformed, message);
    }
    try {
      const batch = readBatch(parsed.batch);
      return { batch, deadline: monotonicMicros() + parsed.remainingMs * 1000 };
    } catch (error) {
      if (!(error instanceof BatchFormatError)) throw error;
      return this.failure(ReplyCode.malformed, error.message);
    }
  }

  /**
   * Puts events into the next record, before its transactions. `decide` is called when the record is built, on the state
   * as it is then; an empty list needs no record. Resolves with the record's sequence once everything it rests on is
   * acknowledged.
   */
  control(decide: Control['decide']): Promise<number> {
    return new Promise((resolve) => {
      this.controls.push({ decide, resolve });
      this.schedule();
    });
  }

  /** A record is wanted though nobody submits: to move the horizon, to log an epoch. */
  nudge(): void {
    this.wantsRecord = true;
    this.schedule();
  }

  /**
   * Calls back with true when everything decided so far is acknowledged, at once where it is; with false where the log
   * refuses it, which may last.
   */
  whenAcknowledged(callback: (acknowledged: boolean) => void): void {
    const last = this.open && this.open.events.length > 0 ? this.open : this.inFlight;
    if (!last || this.refusing) callback(!last);
    else last.afterAck.push(callback);
  }

  /** Resolves when nothing waits and nothing is in flight; the caller has stopped the intake. */
  drained(): Promise<void> {
    return new Promise((resolve) => {
      this.idle.push(resolve);
      this.settle();
    });
  }

  /** Answers nobody any more, and keeps nobody who waits for the end. */
  stop(): void {
    this.stopped = true;
    this.settle();
  }

  private overloadedBy(bytes: number): string | null {
    const { bounds } = this;
    if (this.waitingBytes + bytes > bounds.waitingBytesMax) return 'too much is waiting to be stored';
    if (this.ports.pendingBytes() > bounds.pendingBytesMax) {
      return `more than pending_bytes_max (${bounds.pendingBytesMax}) bytes wait to be folded`;
    }
    if (this.state.known.size >= bounds.idsMax) return `ids_max (${bounds.idsMax}) transactions are known`;
    return null;
  }

  private enqueue(waiting: Waiting): void {
    this.queue.push(waiting);
    this.waitingBytes += waiting.batch.bytes.byteLength;
    this.schedule();
  }

  /** After the messages that are already here, so that they travel together. */
  private schedule(): void {
    if (this.scheduled || this.stopped) return;
    this.scheduled = true;
    setImmediate(() => {
      this.scheduled = false;
      this.work();
    });
  }

  private work(): void {
    if (this.stopped || this.refusing) return;
    const open = this.takeIn();
    if (!this.inFlight) this.send(open);
    if (this.takesMore()) this.schedule();
    else if (!this.inFlight) this.settle();
  }

  /** Whether something waits that the open record, or the next one to be opened, has room for. */
  private takesMore(): boolean {
    const { open, queue, controls } = this;
    if (!open) return queue.length > 0 || controls.length > 0;
    if (controls.length > 0 && this.takesControl(open)) return true;
    return queue.length > 0 && this.fits(open, queue[0] as Waiting);
  }

  /** Decides what waits, as much as fits into the open record and into one turn. */
  private takeIn(): OpenRecord {
    const { state } = this;
    this.open ??= {
      events: [],
      controls: [],
      bytes: RECORD_HEADER_BYTES,
      rows: 0,
      fromPlace: state.known.endPlace,
      answers: [],
      afterAck: [],
    };
    const { open } = this;
    const sequence = state.sequence + 1;
    if (this.queue.length > 0 || this.wantsRecord || this.controls.length > 0) {
      for (const event of this.ports.housekeeping()) this.take(open, event, sequence);
    }
    this.wantsRecord = false;
    while (this.controls.length > 0 && this.takesControl(open)) {
      const control = this.controls.shift() as Control;
      for (const event of control.decide(sequence)) this.take(open, event, sequence);
      open.controls.push(control);
    }
    const turnEnds = open.bytes + TURN_BYTES;
    while (this.queue.length > 0 && open.bytes < turnEnds && this.fits(open, this.queue[0] as Waiting)) {
      const waiting = this.queue.shift() as Waiting;
      this.waitingBytes -= waiting.batch.bytes.byteLength;
      if (monotonicMicros() > waiting.deadline) {
        waiting.respond(this.failure(ReplyCode.timeout, 'its deadline passed while it waited'));
        continue;
      }
      const decision = decide(state, {
        batch: waiting.batch,
        now: wallMicros(),
        maxClockSkewMicros: this.bounds.maxClockSkewMicros,
        ownedSlots: this.ports.ownedSlots(),
        sequence,
        ...(waiting.ledger ? { ledger: waiting.ledger } : {}),
      });
      if (decision.askLedger.length > 0) {
        this.askLedger(waiting, decision.askLedger);
        continue;
      }
      if (decision.event) {
        this.take(open, decision.event, sequence);
        open.rows += decision.event.count;
      }
      const reply: SubmitReply = {
        code: ReplyCode.ok,
        message: '',
        retryAfterMs: 0,
        epoch: state.small.epoch,
        horizon: state.small.horizon,
        sequence: decision.event ? sequence : 0,
        statuses: decision.statuses,
        firsts: decision.firsts,
      };
      open.answers.push({ respond: waiting.respond, reply });
    }
    return open;
  }

  /** How large a control's events are is known only once they are decided: up to half a record, a chunk of a migration. */
  private takesControl(open: OpenRecord): boolean {
    return open.events.length === 0 || open.bytes <= this.bounds.recordBytesMax / 2;
  }

  /** Whether a request is to go into this record. One always does, however large. */
  private fits(open: OpenRecord, { batch }: Waiting): boolean {
    // The event's own header and a bitmap come on top of the batch.
    const bytesMax = batch.bytes.byteLength + 16 + batch.rows / 8;
    return open.events.length === 0 || open.bytes + bytesMax <= this.bounds.recordBytesMax;
  }

  private take(open: OpenRecord, event: ShardEvent, sequence: number): void {
    open.events.push(event);
    open.bytes += eventBytes(event);
    evolve(this.state, event, sequence);
  }

  /** Closes the open record and appends it. Nothing is in flight. */
  private send(open: OpenRecord): void {
    const { state } = this;
    const { events, answers, controls, afterAck, rows, fromPlace } = open;
    this.open = null;
    if (events.length === 0) {
      // Nothing to store and nothing in flight: what the answers rest on is acknowledged.
      for (const { respond, reply } of answers) respond(writeSubmitReply(reply));
      for (const control of controls) control.resolve(state.sequence);
      return;
    }
    const bytes = sealRecord(state, events, this.assignment);
    endRecord(state, { sequence: state.sequence + 1, number: state.number + 1, hash: recordHash(bytes) });
    const { sequence, number, hash, replayFrom } = state;
    const toPlace = state.known.endPlace;
    const record = { sequence, number, hash, replayFrom, bytes: bytes.byteLength, rows, fromPlace, toPlace };
    this.inFlight = { bytes, record, answers, controls, afterAck };
    this.append(this.inFlight);
  }

  private append(inFlight: InFlight): void {
    this.ports.append(inFlight.bytes, inFlight.record.sequence - 1).then(
      (outcome) => {
        if (this.stopped) return;
        if (outcome.outcome === 'stored') this.acknowledge(inFlight);
        else if (outcome.outcome === 'refused') this.refuse(inFlight, outcome.detail ?? 'no reason given');
        else this.fatal('fenced', outcome.detail ?? '');
      },
      (error: Error) => this.fatal('ambiguous', error.message),
    );
  }

  private acknowledge(inFlight: InFlight): void {
    if (this.refusing) {
      this.refusing = null;
      this.ports.onRefusing(null);
    }
    this.inFlight = null;
    this.accepted += inFlight.record.rows;
    this.ports.onAcknowledged(inFlight.record);
    // The next record first: it is stored while these answers are written.
    if (this.open && !this.stopped) this.send(this.open);
    for (const { respond, reply } of inFlight.answers) respond(writeSubmitReply(reply));
    for (const control of inFlight.controls) control.resolve(inFlight.record.sequence);
    for (const callback of inFlight.afterAck) callback(true);
    if (this.queue.length > 0 || this.controls.length > 0 || this.wantsRecord) this.schedule();
    else this.settle();
  }

  /** The record stays as it is and is tried again; those who wait for it are told that it can't be told yet. */
  private refuse(inFlight: InFlight, detail: string): void {
    if (this.refusing !== detail) {
      this.refusing = detail;
      this.ports.onRefusing(detail);
    }
    const refusal = this.failure(ReplyCode.unavailable, `the log refuses records: ${detail}`);
    for (const waiting of this.queue.splice(0)) waiting.respond(refusal);
    this.waitingBytes = 0;
    // What is open rests on the record, and is appended after it.
    for (const record of this.open ? [inFlight, this.open] : [inFlight]) {
      for (const { respond } of record.answers.splice(0)) respond(refusal);
      for (const callback of record.afterAck.splice(0)) callback(false);
    }
    this.settle();
    setTimeout(() => {
      if (!this.stopped) this.append(inFlight);
    }, PROBE_MS);
  }

  private fatal(reason: 'fenced' | 'ambiguous', detail: string): void {
    if (this.stopped) return;
    this.stop();
    this.ports.onFatal(reason, detail);
  }

  private askLedger(waiting: Waiting, rows: readonly number[]): void {
    if (this.asking >= LEDGER_QUESTIONS_MAX) {
      waiting.respond(
        // Without a time: others need not be held off (router/submitter.ts).
        this.failure(ReplyCode.overloaded, 'too many requests wait for the ledger to tell old ids'),
      );
      return;
    }
    this.asking += 1;
    const keys = keysOf(waiting.batch, rows);
    this.ports.askLedger(keys).then(
      (found) => {
        this.asking -= 1;
        // Added to what was told before: meanwhile another row may have fallen below the horizon.
        waiting.ledger ??= new Map();
        for (const [i, row] of rows.entries()) waiting.ledger.set(row, found[i] as FirstSeen | null | 'unreachable');
        if (!this.stopped) this.enqueue(waiting);
      },
      (error: Error) => {
        this.asking -= 1;
        this.fatal('ambiguous', `asking the ledger failed: ${error.message}`);
      },
    );
  }

  private settle(): void {
    // A record that the log refuses has nobody who waits for it, nor has the one after it.
    const storing = (this.inFlight ?? this.open) && !this.refusing;
    const busy = storing || this.queue.length > 0 || this.asking > 0;
    if (busy && !this.stopped) return;
    for (const resolve of this.idle.splice(0)) resolve();
  }

  private failure(code: Exclude<ReplyCode, ReplyCode.ok>, message: string, retryAfterMs = 0): Uint8Array {
    const { epoch, horizon } = this.state.small;
    return writeSubmitRefusal(code, message, { retryAfterMs, epoch, horizon });
  }
}

function keysOf(batch: Batch, rows: readonly number[]): { account: string; id: string }[] {
  const wanted = new Set(rows);
  const keys: { account: string; id: string }[] = [];
  let idAt = batch.idsAt;
  for (let row = 0; row < batch.rows; row++) {
    const idTo = idAt + (batch.bytes[batch.idLengthsAt + row] as number);
    if (wanted.has(row)) {
      const account = accountName(batch, batchAccount(batch, row));
      const { buffer, byteOffset } = batch.bytes;
      keys.push({ account, id: Buffer.from(buffer, byteOffset + idAt, idTo - idAt).toString('utf8') });
    }
    idAt = idTo;
  }
  return keys;
}
