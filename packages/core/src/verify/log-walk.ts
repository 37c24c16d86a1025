import type { CountAndSum } from '../ports.js';
import { storedSum } from '../shard/accepted-rows.js';
import { judgeLink } from '../shard/chain.js';
import { recordHash } from '../shard/record.js';
import { type VouchedRecord, VouchedRecords } from '../shard/vouched-records.js';

/** Something in a log that is not as it was written: the records `from` to `to`, both inclusive. */
export interface Damage {
  readonly from: number;
  readonly to: number;
  /** A sentence. */
  readonly why: string;
}

/** A loss that an operator accepted, as `rebased` has it on record. */
export interface AcceptedLoss {
  readonly sequence: number;
  readonly formerLogId: string;
  readonly lost: string;
  readonly who: string;
  readonly why: string;
}

export interface WalkedRecord<M> extends VouchedRecord<M> {
  readonly rows: CountAndSum;
  /** Transactions of the records walked so far, this one's included. */
  readonly walked: CountAndSum;
}

const DAMAGES_MAX = 1_000;
const NOTHING: CountAndSum = { count: 0n, sum: 0n };

/**
 * Walks a log from its oldest kept record and checks every link: sequences, chain, numbers, log id, running count and
 * sum. What lies before a `rebased` is an accepted loss and no damage any more.
 */
export class LogWalk<M extends { readonly sequence: number; readonly bytes: Uint8Array }> {
  damages: Damage[] = [];
  /** Also those beyond the first thousand, which are not kept. */
  damageCount = 0;
  readonly accepted: AcceptedLoss[] = [];
  walked: CountAndSum = NOTHING;
  private readonly records = new VouchedRecords<M>();
  private before: VouchedRecord<M> | null = null;
  /** A break between the record before and the next one is known already. */
  private broken = false;
  /** The last one that could not be read: only `rebased` is chained to such bytes. */
  private unreadable: { sequence: number; hash: string } | null = null;

  constructor(private nextSequence: number) {}

  /** Where the next record is expected. */
  get expected(): number {
    return this.nextSequence;
  }

  /** The records below `sequence` were purged while the log was walked: no gap. */
  purgedBelow(sequence: number): readonly WalkedRecord<M>[] {
    const walked = this.pass(this.records.end());
    this.nextSequence = sequence;
    this.before = null;
    return walked;
  }

  /** The next message, in order. Returns the records that may be believed and were not returned before. */
  take(message: M): readonly WalkedRecord<M>[] {
    const walked: WalkedRecord<M>[] = [];
    if (message.sequence !== this.nextSequence) {
      walked.push(...this.pass(this.records.end()));
      this.damage(this.nextSequence, message.sequence - 1, gap(this.nextSequence, message.sequence - 1));
    }
    this.nextSequence = message.sequence + 1;
    const { vouched, unfit } = this.records.next(message);
    walked.push(...this.pass(vouched));
    for (const { sequence, why } of unfit) this.damage(sequence, sequence, why);
    if (unfit.some(({ sequence }) => sequence === message.sequence)) {
      this.unreadable = { sequence: message.sequence, hash: recordHash(message.bytes) };
    }
    return walked;
  }

  /** After the last message. `to`: the last sequence that there should be. */
  finish(to: number): readonly WalkedRecord<M>[] {
    const walked = this.pass(this.records.end());
    if (this.nextSequence <= to) this.damage(this.nextSequence, to, gap(this.nextSequence, to));
    return walked;
  }

  damage(from: number, to: number, why: string): void {
    this.damageCount += 1;
    if (this.damages.length < DAMAGES_MAX) this.damages.push({ from, to, why });
    this.broken = true;
  }

  private pass(vouched: VouchedRecord<M> | null): readonly WalkedRecord<M>[] {
    if (!vouched) return [];
    const { record, message } = vouched;
    const { before } = this;
    const rows = rowsOf(vouched);
    const [first] = record.events;
    if (first?.type === 'rebased') this.accept(vouched, first);
    else if (before && !this.broken) {
      const why = judgeLink(
        { ...before.record, hash: before.hash, sequence: before.message.sequence },
        record,
        message.sequence,
      );
      if (why) this.damage(message.sequence, message.sequence, why);
      else this.checkSums(before, vouched, rows);
    } else if (message.sequence === 1 && record.number !== 1) {
      this.damage(1, 1, `record 1 has number ${record.number}`);
    }
    this.broken = false;
    this.before = vouched;
    this.walked = { count: this.walked.count + rows.count, sum: this.walked.sum + rows.sum };
    return [{ ...vouched, rows, walked: this.walked }];
  }

  private checkSums(before: VouchedRecord<M>, { message, record }: VouchedRecord<M>, rows: CountAndSum): void {
    const count = BigInt(before.record.count) + rows.count;
    const sum = before.record.sum + rows.sum;
    if (count === BigInt(record.count) && sum === record.sum) return;
    this.damage(
      message.sequence,
      message.sequence,
      `record ${message.sequence} says ${record.count} transactions of ${record.sum} up to it, they are ${count} of ${sum}`,
    );
  }

  private accept(
    { message, record }: VouchedRecord<M>,
    rebased: Extract<VouchedRecord<M>['record']['events'][number], { type: 'rebased' }>,
  ): void {
    const { sequence } = message;
    this.damages = [];
    this.damageCount = 0;
    const { formerLogId, lost, who, why } = rebased;
    this.accepted.push({ sequence, formerLogId, lost, who, why });
    // What was accepted must still be what lies before it.
    const { before, unreadable } = this;
    const raw = unreadable?.sequence === sequence - 1 ? unreadable : null;
    const hash = raw?.hash ?? (before?.message.sequence === sequence - 1 ? before.hash : null);
    if (hash !== null && hash !== record.previous) {
      this.damage(
        sequence - 1,
        sequence - 1,
        `record ${sequence - 1} was altered after the repair in record ${sequence}`,
      );
    }
  }
}

function rowsOf({ record }: VouchedRecord<unknown>): CountAndSum {
  let count = 0;
  let sum = 0n;
  for (const event of record.events) {
    if (event.type !== 'stored') continue;
    count += event.count;
    sum += storedSum(event);
  }
  return { count: BigInt(count), sum };
}

function gap(from: number, to: number): string {
  return from === to ? `record ${from} is missing` : `records ${from} to ${to} are missing`;
}
