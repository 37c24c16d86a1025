import type { FirstSeen } from '@spill/core';
import { RowStatus } from '@spill/core';
import type { Row } from './batch-rows.js';

/** A stored transaction as the model remembers it. */
export interface ModelTransaction {
  readonly account: string;
  readonly id: string;
  readonly amount: bigint;
  readonly timestamp: number;
  readonly sequence: number;
  forgotten: boolean;
}

/** A transaction that was taken over: where it was stored first, and the own record that says so. */
export interface ModelAdopted extends ModelTransaction {
  readonly migration: number;
  readonly first: { readonly shard: number; readonly sequence: number };
}

export type ModelLedger = Map<string, FirstSeen>;

export function keyOf(transaction: { account: string; id: string }): string {
  return JSON.stringify([transaction.account, transaction.id]);
}

/** The rules for a row, in plain words and lists: what `decide` must say whatever its tables look like. */
export class ShardModel {
  readonly stored: ModelTransaction[] = [];
  horizon = 0;
  closed = false;
  /** Sealed slots, by migration. */
  readonly sealed = new Map<number, ReadonlySet<number>>();
  adopted: ModelAdopted[] = [];
  /** Migrations whose outcome is logged. */
  readonly settled = new Set<number>();
  private readonly forgettings: { readonly below: number; readonly upTo: number }[] = [];

  constructor(
    readonly shard: number,
    readonly pool: 'credit' | 'debit' | 'large',
    readonly largeThreshold: bigint,
    readonly slotOf: (account: string) => number,
    readonly owned: ReadonlySet<number>,
    readonly maxClockSkew: number,
  ) {}

  get known(): ModelTransaction[] {
    return this.stored.filter((transaction) => !transaction.forgotten);
  }

  get sum(): bigint {
    return this.stored.reduce((sum, transaction) => sum + transaction.amount, 0n);
  }

  forget(horizon: number, foldedUpTo: number): void {
    this.horizon = Math.max(this.horizon, horizon);
    this.forgettings.push({ below: horizon, upTo: foldedUpTo });
    this.forgetAll();
  }

  /** What of some transactions it does not know yet. */
  fresh<T extends { account: string; id: string }>(rows: readonly T[]): T[] {
    const known = new Set([...this.known, ...this.adopted.filter((one) => !one.forgotten)].map(keyOf));
    return rows.filter((row) => !known.has(keyOf(row)));
  }

  settle(migration: number, committed: boolean): void {
    this.settled.add(migration);
    this.sealed.delete(migration);
    if (!committed) this.adopted = this.adopted.filter((one) => one.migration !== migration);
    this.forgetAll();
  }

  private forgetAll(): void {
    const settled = this.adopted.filter((one) => this.settled.has(one.migration));
    for (const transaction of [...this.stored, ...settled]) {
      const { timestamp, sequence } = transaction;
      if (this.forgettings.some(({ below, upTo }) => timestamp < below && sequence <= upTo)) {
        transaction.forgotten = true;
      }
    }
  }

  /** Decides a batch and stores what is accepted. `ledger` null: it cannot be asked. */
  submit(
    rows: readonly Row[],
    now: number,
    sequence: number,
    ledger: ModelLedger | null,
  ): { status: RowStatus; first: FirstSeen | null }[] {
    const known = new Map(this.known.map((transaction) => [keyOf(transaction), transaction]));
    const adopted = new Map(this.adopted.filter((one) => !one.forgotten).map((one) => [keyOf(one), one]));
    return rows.map((row) => {
      const slot = this.slotOf(row.account);
      const sealed = [...this.sealed.values()].some((slots) => slots.has(slot));
      if (this.closed || sealed || !this.owned.has(slot) || this.poolOf(row.amount) !== this.pool) {
        return { status: RowStatus.moved, first: null };
      }
      const meet = (first: FirstSeen) => ({
        status: first.amount === row.amount ? RowStatus.duplicate : RowStatus.idConflict,
        first,
      });
      const before = known.get(keyOf(row));
      if (before) {
        const { sequence, timestamp, amount } = before;
        return meet({ shard: this.shard, sequence, timestamp, amount });
      }
      const taken = adopted.get(keyOf(row));
      if (taken) return meet({ ...taken.first, timestamp: taken.timestamp, amount: taken.amount });
      if (row.timestamp > now + this.maxClockSkew) return { status: RowStatus.ahead, first: null };
      if (row.timestamp >= this.horizon) {
        const { account, id, amount, timestamp } = row;
        const transaction = { account, id, amount, timestamp, sequence, forgotten: false };
        known.set(keyOf(row), transaction);
        this.stored.push(transaction);
        return { status: RowStatus.stored, first: null };
      }
      if (row.stamped) return { status: RowStatus.restamp, first: null };
      if (!ledger) return { status: RowStatus.unavailable, first: null };
      const there = ledger.get(keyOf(row));
      return there ? meet(there) : { status: RowStatus.expired, first: null };
    });
  }

  private poolOf(amount: bigint): string {
    if (amount >= this.largeThreshold || amount <= -this.largeThreshold) return 'large';
    return amount > 0n ? 'credit' : 'debit';
  }
}
