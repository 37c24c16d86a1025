/**
 * The only place that accepts a transaction. Pure: reads the state, returns events, changes nothing.
 *
 * What a row of a batch is told, in this order:
 *
 * | the row | answer | event |
 * | --- | --- | --- |
 * | the log is closed, not this pool, slot not owned, or slot sealed | `moved` | |
 * | its (account, id) known, taken over, or earlier in the batch, same amount | `duplicate` of the first | |
 * | the same with another amount | `idConflict` | |
 * | unknown, timestamp too far ahead of the clock | `ahead` | |
 * | unknown, not below the horizon | `stored` | in `stored` |
 * | unknown, below the horizon, stamped by spill | `restamp` | |
 * | unknown, below the horizon, ledger not asked yet | none: `askLedger` names the rows, nothing is decided | |
 * | … the ledger has it | `duplicate` or `idConflict` | |
 * | … the ledger does not have it | `expired` | |
 * | … the ledger could not be asked | `unavailable` | |
 */

import { spansContain } from '../topology/owners.js';
import { poolOf } from '../topology/pool.js';
import {
  type Batch,
  batchAccount,
  batchAmount,
  batchStamped,
  batchTimestamp,
  isSameAccount,
} from '../transaction/batch.js';
import type { Adoption } from './adoption.js';
import type { Stored } from './events.js';
import { type KnownIds, NONE, sameBytes } from './known-ids.js';
import { type LocatedKeys, locateKeys } from './located-keys.js';
import { isSealed, type ShardState } from './state.js';
import { type FirstSeen, RowStatus } from './submit-protocol.js';

export interface Submit {
  readonly batch: Batch;
  /** The shard's clock, microseconds. */
  readonly now: number;
  readonly maxClockSkewMicros: number;
  /** 1 at each slot that the topology gives this shard. */
  readonly ownedSlots: Uint8Array;
  /** The sequence that the record holding the events will have. */
  readonly sequence: number;
  /** What the ledger said of rows that were asked for: null, not there; 'unreachable', not answered. */
  readonly ledger?: ReadonlyMap<number, FirstSeen | null | 'unreachable'>;
}

export interface Decision {
  /** null: nothing to store. */
  readonly event: Stored | null;
  /** A `RowStatus` a row; empty where all were stored. */
  readonly statuses: Uint8Array;
  readonly firsts: ReadonlyMap<number, FirstSeen>;
  /** Rows to ask the ledger for; not empty: decide again with the answers, nothing else here counts. */
  readonly askLedger: readonly number[];
}

/** So many that their misses of the cache overlap, and so few that they are all still in it when their turn comes. */
const LOOKED_UP_AHEAD = 256;

const NO_STATUSES = new Uint8Array();
const NO_FIRSTS: ReadonlyMap<number, FirstSeen> = new Map();

export function decide(state: ShardState, submit: Submit): Decision {
  const { batch } = submit;
  const { rows, bytes, view } = batch;
  const { known } = state;
  const { horizon } = state.small;
  const newest = submit.now + submit.maxClockSkewMicros;
  const keys = locateKeys(state.idHashKey, batch);
  keys.numbers = known.accountNumbers(batch, keys);
  const { numbers, slots } = keys.numbers;
  const adoptions: (readonly Adoption[])[] = [];
  const accepts = new Uint8Array(batch.accountCount);
  for (let place = 0; place < accepts.length; place++) {
    const slot = slots[place] as number;
    if (state.adoptions.size > 0) adoptions[place] = adoptionsOf(state, slot);
    if (!state.small.closed && submit.ownedSlots[slot] === 1 && !isSealed(state, slot)) accepts[place] = 1;
  }
  const inPool = poolTest(state);
  const mayKnow = new Uint8Array(LOOKED_UP_AHEAD);
  const within = new WithinBatch(batch, keys);
  const statuses = new Uint8Array(rows);
  const firsts = new Map<number, FirstSeen>();
  const askLedger: number[] = [];
  let stored = 0;

  for (let row = 0; row < rows; row++) {
    const ahead = row % LOOKED_UP_AHEAD;
    if (ahead === 0) lookUpAhead(known, keys, row, mayKnow);
    const place = batchAccount(batch, row);
    const amountAt = batch.amountsAt + 8 * row;
    const amountLow = view.getUint32(amountAt, true);
    const amountHigh = view.getInt32(amountAt + 4, true);
    if (accepts[place] === 0 || !inPool(amountLow, amountHigh)) {
      statuses[row] = RowStatus.moved;
      continue;
    }
    const entry = mayKnow[ahead] === 0 ? NONE : find(row, numbers[place] as number);
    if (entry !== NONE) {
      const first = {
        shard: state.shard,
        sequence: known.sequence(entry),
        timestamp: known.timestamp(entry),
        amount: known.amount(entry),
      };
      meet(row, first);
      continue;
    }
    const adopted = firstAdopted(adoptions[place], batch, keys, row);
    if (adopted) {
      meet(row, adopted);
      continue;
    }
    const earlier = within.find(row);
    if (earlier >= 0) {
      const first = {
        shard: state.shard,
        sequence: submit.sequence,
        timestamp: batchTimestamp(batch, earlier),
        amount: batchAmount(batch, earlier),
      };
      meet(row, first);
      continue;
    }
    const timestamp = batchTimestamp(batch, row);
    if (timestamp > newest) {
      statuses[row] = RowStatus.ahead;
    } else if (timestamp >= horizon) {
      within.add(row);
      stored += 1;
    } else if (batchStamped(batch, row)) {
      statuses[row] = RowStatus.restamp;
    } else {
      const answer = submit.ledger?.get(row);
      if (answer === undefined) askLedger.push(row);
      else if (answer === null) statuses[row] = RowStatus.expired;
      else if (answer === 'unreachable') statuses[row] = RowStatus.unavailable;
      else meet(row, answer);
    }
  }
  if (askLedger.length > 0) return { event: null, statuses: NO_STATUSES, firsts: NO_FIRSTS, askLedger };
  if (stored === rows) {
    const event: Stored | null = rows === 0 ? null : { type: 'stored', batch, accepted: null, count: rows, keys };
    return { event, statuses: NO_STATUSES, firsts: NO_FIRSTS, askLedger };
  }
  const event: Stored | null =
    stored === 0 ? null : { type: 'stored', batch, accepted: bitmapOfStored(statuses), count: stored, keys };
  return { event, statuses, firsts, askLedger };

  function find(row: number, account: number): number {
    if (account < 0) return NONE;
    const { starts, hashes } = keys;
    return known.find(account, hashes[row] as number, bytes, starts[row] as number, starts[row + 1] as number);
  }

  function meet(row: number, first: FirstSeen): void {
    statuses[row] = first.amount === batchAmount(batch, row) ? RowStatus.duplicate : RowStatus.idConflict;
    firsts.set(row, first);
  }
}

/** What was taken over for a slot. */
function adoptionsOf(state: ShardState, slot: number): readonly Adoption[] {
  return [...state.adoptions.values()].filter((adoption) => spansContain(adoption.slots, slot));
}

function firstAdopted(
  adoptions: readonly Adoption[] | undefined,
  batch: Batch,
  keys: LocatedKeys,
  row: number,
): FirstSeen | null {
  if (adoptions === undefined) return null;
  for (const adoption of adoptions) {
    const first = adoption.find(batch, keys, row);
    if (first) return first;
  }
  return null;
}

function bitmapOfStored(statuses: Uint8Array): Uint8Array {
  const bitmap = new Uint8Array((statuses.length + 7) >> 3);
  for (let row = 0; row < statuses.length; row++) {
    if (statuses[row] === RowStatus.stored) bitmap[row >> 3] = (bitmap[row >> 3] as number) | (1 << (row & 7));
  }
  return bitmap;
}

/** Whether an amount, in two halves, belongs to the shard's pool. Small amounts are told without making a bigint. */
function poolTest(state: ShardState): (low: number, high: number) => boolean {
  const { pool, largeThreshold } = state;
  const exact = (low: number, high: number): boolean =>
    poolOf((BigInt(high) << 32n) | BigInt(low), largeThreshold) === pool;
  if (largeThreshold > 0x7fff_ffffn) return exact;
  const threshold = Number(largeThreshold);
  return (low, high) => {
    if (high !== 0 && high !== -1) return exact(low, high);
    const amount = high * 0x1_0000_0000 + low;
    const magnitude = amount < 0 ? -amount : amount;
    if (magnitude >= threshold) return pool === 'large';
    return amount > 0 ? pool === 'credit' : pool === 'debit';
  };
}

/** A power of two, at least twice as many places as there are things to put there. */
function tableSize(count: number): number {
  let size = 8;
  while (size < 2 * count) size *= 2;
  return size;
}

/** For each row from `from` on, 0 where its key is certainly not known. */
function lookUpAhead(known: KnownIds, { hashes }: LocatedKeys, from: number, mayKnow: Uint8Array): void {
  const to = Math.min(hashes.length, from + LOOKED_UP_AHEAD);
  for (let row = from; row < to; row++) mayKnow[row - from] = known.mayKnow(hashes[row] as number) ? 1 : 0;
}

/** The rows of one batch that were accepted so far, by (account, id): a small open-addressing table. */
class WithinBatch {
  private readonly slots: Int32Array;
  private readonly mask: number;

  constructor(
    private readonly batch: Batch,
    private readonly keys: LocatedKeys,
  ) {
    this.slots = new Int32Array(tableSize(batch.rows)).fill(-1);
    this.mask = this.slots.length - 1;
  }

  add(row: number): void {
    let at = this.home(row);
    while (this.slots[at] !== -1) at = (at + 1) & this.mask;
    this.slots[at] = row;
  }

  /** The accepted row with the same key before `row`, or −1. */
  find(row: number): number {
    const { hashes } = this.keys;
    for (let at = this.home(row); ; at = (at + 1) & this.mask) {
      const other = this.slots[at] as number;
      if (other === -1) return -1;
      if (hashes[other] === hashes[row] && this.sameAccount(other, row) && this.sameId(other, row)) return other;
    }
  }

  private home(row: number): number {
    return (this.keys.hashes[row] as number) & this.mask;
  }

  /** A sender may list an account twice. */
  private sameAccount(a: number, b: number): boolean {
    return isSameAccount(this.batch, batchAccount(this.batch, a), batchAccount(this.batch, b));
  }

  private sameId(a: number, b: number): boolean {
    const { starts } = this.keys;
    const from = starts[a] as number;
    return (
      sameBytes(this.batch.bytes, from, this.batch.bytes, starts[b] as number, starts[b + 1] as number) &&
      (starts[a + 1] as number) - from === (starts[b + 1] as number) - (starts[b] as number)
    );
  }
}
