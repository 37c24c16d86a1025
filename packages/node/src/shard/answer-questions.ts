import {
  isSealed,
  type KnownIds,
  NONE,
  type Pending,
  type ShardAnswer,
  type ShardQuestion,
  type ShardState,
  type ShardTransaction,
} from '@spill/core';
import { Packr, Unpackr } from 'msgpackr';
import type { Migrations } from './migrations.js';

const packr = new Packr({ useRecords: false });
const unpackr = new Unpackr({ useRecords: false });

export interface QuestionPorts {
  readonly state: ShardState;
  readonly pending: Pending;
  /** The record in which an operator last accepted a loss; 0: none. */
  readonly rebasedAt: number;
  /** The last acknowledged record. */
  acknowledged(): number;
  /** The topology at `epoch` or newer has been taken up. */
  atEpoch(epoch: number): Promise<number>;
  ownedSlots(): Uint8Array;
  /** Everything decided so far is acknowledged (true), or the log refuses it and it may take long (false). */
  whenAcknowledged(callback: (acknowledged: boolean) => void): void;
  /** Folds up to `sequence`; counts since then. */
  fold(sequence: number): Promise<{ folded: number; setAside: number }>;
  readonly migrations: Migrations;
  /** Appends `closed`; null: the topology still names the shard. Resolves with the record's sequence. */
  close(): Promise<number | null>;
  status(): Extract<ShardAnswer, { answer: 'status' }>['status'];
}

export async function answerQuestion(bytes: Uint8Array, ports: QuestionPorts): Promise<Uint8Array> {
  return packr.pack(await answer(unpackr.unpack(bytes) as ShardQuestion, ports));
}

export function packAnswer(answer: ShardAnswer): Uint8Array {
  return packr.pack(answer);
}

async function answer(question: ShardQuestion, ports: QuestionPorts): Promise<ShardAnswer> {
  if (question.ask === 'status') return { answer: 'status', status: ports.status() };
  if (question.ask === 'fold') return { answer: 'fold', ...(await ports.fold(ports.acknowledged())) };
  const epoch = await ports.atEpoch(question.epoch);
  if (question.ask === 'copy') {
    const piece = ports.migrations.chunk(question.migration, question.stream, question.chunk);
    return piece ? { answer: 'copy', piece } : { answer: 'moved', epoch };
  }
  if (question.ask === 'migration') {
    return { answer: 'migration', ...(await ports.migrations.step(question.migration, question.step)) };
  }
  if (question.ask === 'close') {
    const sequence = await ports.close();
    return sequence === null ? { answer: 'moved', epoch } : { answer: 'close', sequence };
  }
  if (question.role === 'owner' && !answersAsOwner(question, epoch, ports)) return { answer: 'moved', epoch };
  // What was decided is in memory before it is acknowledged; an answer may rest only on what is.
  const acknowledged = await new Promise<boolean>((resolve) => ports.whenAcknowledged(resolve));
  // Sums are of acknowledged records alone; what else is in memory can't be told apart.
  if (!acknowledged && question.ask !== 'pending') {
    return { answer: 'unavailable', message: 'the log refuses records, and what is decided waits for it' };
  }
  switch (question.ask) {
    case 'pending':
      return pendingSums(question, epoch, ports);
    case 'get': {
      const entry = find(ports.state.known, question.account, question.id);
      // What is not found may be forgotten; the asker then has to see that it is in the ledger.
      const { completeAbove } = ports.state.known;
      return {
        answer: 'get',
        transaction: entry === NONE ? null : transaction(ports.state.known, entry),
        completeAbove,
        epoch,
      };
    }
    case 'retrieve':
      // Beyond another watermark than that, not everything is in memory.
      if (!ports.pending.canAnswer(question.watermark)) return { answer: 'again' };
      return { answer: 'retrieve', transactions: retrieve(question, ports), epoch };
  }
}

function answersAsOwner(
  question: Extract<ShardQuestion, { role: string }>,
  epoch: number,
  ports: QuestionPorts,
): boolean {
  if (epoch > question.epoch) return false;
  const accounts = question.ask === 'pending' ? question.accounts : [question.account];
  const owned = ports.ownedSlots();
  return accounts.every((account) => {
    const slot = ports.state.known.slot(account);
    return owned[slot] === 1 && !isSealed(ports.state, slot);
  });
}

function pendingSums(
  question: Extract<ShardQuestion, { ask: 'pending' }>,
  epoch: number,
  { state, pending, rebasedAt, acknowledged }: QuestionPorts,
): ShardAnswer {
  if (question.watermark < rebasedAt) {
    // What is folded again after a repair is in the row already, though beyond the watermark.
    return { answer: 'unavailable', message: `the log is folded again after its repair, up to record ${rebasedAt}` };
  }
  // Another log, or a watermark that is too old or too new for what is in memory: SQL has to be read again.
  if (question.logId !== state.logId || !pending.canAnswer(question.watermark)) return { answer: 'again' };
  const sums: string[] = [];
  const known: boolean[] = [];
  question.accounts.forEach((account, i) => {
    const beyond = pending.beyond(account, question.watermark);
    let { sum } = beyond;
    for (const id of question.without[i] ?? []) {
      const entry = find(state.known, account, id);
      const sequence = entry === NONE ? 0 : state.known.sequence(entry);
      if (sequence > question.watermark && sequence <= acknowledged()) sum -= state.known.amount(entry);
    }
    sums.push(sum.toString());
    known.push(beyond.count > 0);
  });
  return { answer: 'pending', sums, known, epoch };
}

/** The first `limit` transactions of the account by (timestamp, bytes of id), strictly after the cursor. */
function retrieve(question: Extract<ShardQuestion, { ask: 'retrieve' }>, { state }: QuestionPorts): ShardTransaction[] {
  const { known } = state;
  const { after, from, to, limit } = question;
  let found: ShardTransaction[] = [];
  let bound = Number.POSITIVE_INFINITY;
  for (const entry of known.entriesOfAccount(question.account, question.watermark)) {
    const timestamp = known.timestamp(entry);
    if (timestamp > bound || (from !== null && timestamp < from) || (to !== null && timestamp >= to)) continue;
    const candidate = transaction(known, entry);
    if (after && compareKeys(candidate, after) <= 0) continue;
    found.push(candidate);
    if (found.length >= 4 * limit) {
      found = found.sort(compareKeys).slice(0, limit);
      bound = (found.at(-1) as ShardTransaction).timestamp;
    }
  }
  return found.sort(compareKeys).slice(0, limit);
}

function compareKeys(a: { timestamp: number; id: string }, b: { timestamp: number; id: string }): number {
  if (a.timestamp !== b.timestamp) return a.timestamp - b.timestamp;
  return Buffer.compare(Buffer.from(a.id), Buffer.from(b.id));
}

function find(known: KnownIds, account: string, id: string): number {
  const number = known.accountNumber(account);
  if (number < 0) return NONE;
  const bytes = Buffer.from(id);
  return known.find(number, known.hash(bytes, 0, bytes.length), bytes, 0, bytes.length);
}

function transaction(known: KnownIds, entry: number): ShardTransaction {
  return {
    id: known.id(entry),
    amount: known.amount(entry).toString(),
    timestamp: known.timestamp(entry),
    sequence: known.sequence(entry),
  };
}
