import {
  accountName,
  BatchFormatError,
  batchAccount,
  batchAmount,
  batchStamped,
  batchTimestamp,
  type FirstSeen,
  type Names,
  ReplyCode,
  RowStatus,
  readBatch,
  readSubmitRequest,
  type ShardAnswer,
  type ShardQuestion,
  type SubmitReply,
  writeSubmitReply,
} from '@spill/core';
import type { NatsConnection } from '@spill/node';
import { Packr, Unpackr } from 'msgpackr';
import type { Msg, Subscription } from 'nats';
import { compareKeys } from './fake-data-table.ts';

export interface FakeRow {
  readonly account: string;
  readonly id: string;
  readonly amount: bigint;
  readonly timestamp: number;
  readonly stamped: boolean;
}

export interface FakeRequest {
  readonly rows: readonly FakeRow[];
  readonly remainingMs: number;
  readonly bytes: number;
}

const packr = new Packr({ useRecords: false });
const unpackr = new Unpackr({ useRecords: false, mapsAsObjects: true, int64AsType: 'number' });

/** Answers like a shard process, from a map in memory. Tests put their own `onSubmit` or `onAsk` in its place. */
export class FakeShard {
  readonly requests: FakeRequest[] = [];
  readonly known = new Map<string, FakeRow & { sequence: number }>();
  sequence = 1;
  epoch = 1;
  horizon = 0;
  /** null: no answer at all. */
  onSubmit: (request: FakeRequest) => Promise<SubmitReply | null> | SubmitReply | null = (request) =>
    this.store(request);
  onAsk: (question: ShardQuestion) => ShardAnswer | null | Promise<ShardAnswer | null> = () => ({
    answer: 'unavailable',
    message: 'no',
  });
  private subscriptions: Subscription[] = [];

  constructor(
    readonly nc: NatsConnection,
    private readonly names: Names,
    readonly shard: number,
    readonly assignment: number,
  ) {}

  async listen(): Promise<void> {
    const submit = this.names.shard(this.shard, this.assignment, 'submit');
    const ask = this.names.shard(this.shard, this.assignment, 'ask');
    this.subscriptions = [
      this.nc.subscribe(submit, { callback: (_, msg) => void this.answerSubmit(msg) }),
      this.nc.subscribe(ask, { callback: (_, msg) => void this.answerAsk(msg) }),
    ];
    await this.nc.flush();
  }

  /** As a killed process: nothing listens any more. */
  async die(): Promise<void> {
    for (const subscription of this.subscriptions.splice(0)) subscription.unsubscribe();
    await this.nc.flush();
  }

  reply(part: Partial<SubmitReply> = {}): SubmitReply {
    return {
      code: ReplyCode.ok,
      retryAfterMs: 0,
      epoch: this.epoch,
      horizon: this.horizon,
      sequence: 0,
      statuses: new Uint8Array(),
      firsts: new Map(),
      message: '',
      ...part,
    };
  }

  /** Every row the same. */
  all(request: FakeRequest, status: RowStatus, part: Partial<SubmitReply> = {}): SubmitReply {
    return this.reply({ statuses: new Uint8Array(request.rows.length).fill(status), ...part });
  }

  store(request: FakeRequest): SubmitReply {
    const sequence = ++this.sequence;
    const statuses = new Uint8Array(request.rows.length);
    const firsts = new Map<number, FirstSeen>();
    request.rows.forEach((row, i) => {
      const key = `${row.account}\n${row.id}`;
      const before = this.known.get(key);
      if (before) {
        statuses[i] = before.amount === row.amount ? RowStatus.duplicate : RowStatus.idConflict;
        firsts.set(i, {
          shard: this.shard,
          sequence: before.sequence,
          timestamp: before.timestamp,
          amount: before.amount,
        });
      } else if (row.timestamp < this.horizon) {
        statuses[i] = row.stamped ? RowStatus.restamp : RowStatus.expired;
      } else {
        this.known.set(key, { ...row, sequence });
      }
    });
    return this.reply({
      sequence,
      firsts,
      statuses: statuses.some((status) => status !== 0) ? statuses : new Uint8Array(),
    });
  }

  /** Answers reads from what was stored: everything acknowledged, of which `foldedUpTo` is in SQL. */
  answerReads(logId: string): void {
    this.onAsk = (question) => {
      if (!('role' in question)) return { answer: 'unavailable', message: 'not in this test' };
      if (question.role === 'owner' && this.epoch > question.epoch) return { answer: 'moved', epoch: this.epoch };
      const rows = [...this.known.values()];
      switch (question.ask) {
        case 'pending': {
          if (question.logId !== logId) return { answer: 'again' };
          const beyond = question.accounts.map((account, i) =>
            rows.filter(
              (row) =>
                row.account === account &&
                row.sequence > question.watermark &&
                !(question.without[i] as readonly string[]).includes(row.id),
            ),
          );
          const sums = beyond.map((list) => list.reduce((sum, row) => sum + row.amount, 0n).toString());
          return { answer: 'pending', sums, known: beyond.map((list) => list.length > 0), epoch: this.epoch };
        }
        case 'get': {
          const row = rows.find(({ account, id }) => account === question.account && id === question.id);
          return {
            answer: 'get',
            transaction: row ? toShardTransaction(row) : null,
            completeAbove: 0,
            epoch: this.epoch,
          };
        }
        case 'retrieve': {
          const { account, watermark, after, from, to, limit } = question;
          const transactions = rows
            .filter((row) => row.account === account && row.sequence > watermark)
            .filter((row) => (from === null || row.timestamp >= from) && (to === null || row.timestamp < to))
            .filter((row) => after === null || compareKeys(row, after) > 0)
            .sort(compareKeys)
            .slice(0, limit)
            .map(toShardTransaction);
          return { answer: 'retrieve', transactions, epoch: this.epoch };
        }
      }
    };
  }

  private async answerSubmit(msg: Msg): Promise<void> {
    const request = readSubmitRequest(msg.data)!;
    let rows: FakeRow[];
    try {
      rows = rowsOf(request.batch);
    } catch (error) {
      if (!(error instanceof BatchFormatError)) throw error;
      msg.respond(writeSubmitReply(this.reply({ code: ReplyCode.malformed, message: error.message })));
      return;
    }
    const seen = { rows, remainingMs: request.remainingMs, bytes: msg.data.byteLength };
    this.requests.push(seen);
    const reply = await this.onSubmit(seen);
    if (reply) msg.respond(writeSubmitReply(reply));
  }

  private async answerAsk(msg: Msg): Promise<void> {
    const answer = await this.onAsk(unpackr.unpack(msg.data) as ShardQuestion);
    if (answer) msg.respond(packr.pack(answer));
  }
}

function toShardTransaction(row: FakeRow & { sequence: number }) {
  return { id: row.id, amount: row.amount.toString(), timestamp: row.timestamp, sequence: row.sequence };
}

export function rowsOf(bytes: Uint8Array): FakeRow[] {
  const batch = readBatch(bytes);
  const decoder = new TextDecoder();
  let at = batch.idsAt;
  return Array.from({ length: batch.rows }, (_, row) => {
    const length = batch.bytes[batch.idLengthsAt + row]!;
    const id = decoder.decode(batch.bytes.subarray(at, at + length));
    at += length;
    return {
      account: accountName(batch, batchAccount(batch, row)),
      id,
      amount: batchAmount(batch, row),
      timestamp: batchTimestamp(batch, row),
      stamped: batchStamped(batch, row),
    };
  });
}
