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
    await ports.migrations.step(question.migration, question.step);
    return onceAcknowledged({ answer: 'migration', ...ports.migrations.report(question.migration) }, ports);
  }
  if (question.ask === 'close') {
    if (!(await everythingAcknowledged(ports))) return REFUSED;
    const sequence = await ports.close();
    return sequence === null ? { answer: 'moved', epoch } : { answer: 'close', sequence };
  }
  if (question.role === 'owner' && !answersAsOwner(question, epoch, ports)) return { answer: 'moved', epoch };
  switch (question.ask) {
    case 'pending':
      // So that it is as new as it can be; sums are of acknowledged records alone, also where the log refuses more.
      await everythingAcknowledged(ports);
      return pendingSums(question, epoch, ports);
    case 'get': {
      const entry = ports.state.known.lookUp(question.account, question.id);
      const said: ShardAnswer = {
        answer: 'get',
        transaction: entry === NONE ? null : transaction(ports.state.known, entry),
        // What is not found may be forgotten; the asker then has to see that it is in the ledger.
        completeAbove: Math.max(ports.state.known.completeAbove, forgottenUpTo(ports.state)),
        epoch,
      };
      return onceAcknowledged(said, ports);
    }
    case 'retrieve':
      // Beyond another watermark than that, not everything is in memory.
      if (!ports.pending.canAnswer(question.watermark)) return { answer: 'again' };
      return onceAcknowledged({ answer: 'retrieve', transactions: retrieve(question, ports), epoch }, ports);
  }
}

const REFUSED: ShardAnswer = {
  answer: 'unavailable',
  message: 'the log refuses records, and what is decided waits for it',
};

/**
 * What was decided is in memory before it is acknowledged, and may never be: an answer that was read from there is given
 * once everything decided by then is acknowledged. Not read after the wait: by then more is decided.
 */
async function onceAcknowledged(said: ShardAnswer, ports: QuestionPorts): Promise<ShardAnswer> {
  return (await everythingAcknowledged(ports)) ? said : REFUSED;
}

/** false: the log refuses it, which may last. */
function everythingAcknowledged(ports: QuestionPorts): Promise<boolean> {
  return new Promise((resolve) => ports.whenAcknowledged(resolve));
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
    for (const entry of entriesOf(state, account, question.without[i] ?? [], question.watermark)) {
      const sequence = state.known.sequence(entry);
      if (sequence > question.watermark && sequence <= acknowledged()) sum -= state.known.amount(entry);
    }
    sums.push(sum.toString());
    known.push(beyond.count > 0);
  });
  return { answer: 'pending', sums, known, epoch };
}

/**
 * The entries of these ids, as far as any is beyond the watermark. `find` passes over what is forgotten, and what is
 * forgotten is beyond the watermark only where the data table was set back.
 */
function entriesOf(state: ShardState, account: string, ids: readonly string[], watermark: number): number[] {
  const { known } = state;
  if (ids.length === 0) return [];
  if (watermark >= forgottenUpTo(state)) {
    return ids.map((id) => known.lookUp(account, id)).filter((entry) => entry !== NONE);
  }
  const wanted = new Set(ids);
  return [...known.entriesOfAccount(account, watermark)].filter((entry) => wanted.has(known.id(entry)));
}

/** The last record of which the shard may have forgotten transactions. */
function forgottenUpTo({ small }: ShardState): number {
  return (small.forgottenAlso ?? []).reduce((last, { upTo }) => Math.max(last, upTo), small.foldedUpTo);
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

function transaction(known: KnownIds, entry: number): ShardTransaction {
  return {
    id: known.id(entry),
    amount: known.amount(entry).toString(),
    timestamp: known.timestamp(entry),
    sequence: known.sequence(entry),
  };
}
