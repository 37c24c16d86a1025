import type { Pool } from '@spill/core';

/** A transaction as the load sends it. */
export interface LoadTransaction {
  readonly account: string;
  readonly id: string;
  readonly amount: number;
  /** Microseconds; absent: spill stamps it. */
  readonly timestamp?: number;
}

/** Everything that was sent under one (account, id) with one amount. */
export interface Variant {
  readonly amount: number;
  tries: number;
  /** Answers `stored`, `duplicate` or `applied`. */
  acknowledged: number;
  /** Answers `stored` alone: a second one would mean that it was stored twice. */
  stored: number;
  /** Answers `applied` alone: written to the row directly. */
  applied: number;
}

export interface LoadKey {
  readonly account: string;
  readonly id: string;
  /** More than one where an id was used again with another amount. */
  readonly variants: Variant[];
}

const VIOLATIONS_KEPT = 20;

/** What was sent, and what of it was acknowledged: all that a client can know. */
export class LoadModel {
  readonly keys = new Map<string, LoadKey>();
  /** Answers that are wrong by themselves. */
  readonly violations: string[] = [];
  readonly answers = new Map<string, number>();
  acknowledged = 0;

  constructor(readonly largeThreshold: number) {}

  poolOf(amount: number): Pool {
    if (Math.abs(amount) >= this.largeThreshold) return 'large';
    return amount > 0 ? 'credit' : 'debit';
  }

  tried(transaction: LoadTransaction): void {
    this.variant(transaction).tries += 1;
  }

  answered(transaction: LoadTransaction, status: string): void {
    this.count(status);
    const variant = this.variant(transaction);
    if (variant.acknowledged === 0) this.acknowledged += 1;
    variant.acknowledged += 1;
    if (status === 'stored') {
      variant.stored += 1;
      if (variant.stored > 1) this.violation(transaction, 'was answered "stored" a second time');
    } else if (status === 'applied') {
      variant.applied += 1;
      if (variant.applied > 1) this.violation(transaction, 'was answered "applied" a second time');
    } else if (status !== 'duplicate') {
      this.violation(transaction, `was answered ${JSON.stringify(status)}`);
    }
  }

  /** An error for good. One that may be repeated is only counted (`count`). */
  refused(transaction: LoadTransaction, code: string, message: string): void {
    this.count(code);
    const { variants } = this.key(transaction);
    if (code === 'id_conflict' && variants.length > 1) return;
    this.violation(transaction, `was refused: ${code}, ${message}`);
  }

  count(answer: string): void {
    this.answers.set(answer, (this.answers.get(answer) ?? 0) + 1);
  }

  violation(transaction: LoadTransaction, what: string): void {
    if (this.violations.length === VIOLATIONS_KEPT) return;
    const { account, id, amount } = transaction;
    this.violations.push(`${account} ${id} ${amount} ${what}: ${JSON.stringify(this.key(transaction).variants)}`);
  }

  private key({ account, id }: LoadTransaction): LoadKey {
    const name = `${account} ${id}`;
    let key = this.keys.get(name);
    if (!key) {
      key = { account, id, variants: [] };
      this.keys.set(name, key);
    }
    return key;
  }

  private variant(transaction: LoadTransaction): Variant {
    const { variants } = this.key(transaction);
    let variant = variants.find(({ amount }) => amount === transaction.amount);
    if (!variant) {
      variant = { amount: transaction.amount, tries: 0, acknowledged: 0, stored: 0, applied: 0 };
      variants.push(variant);
    }
    return variant;
  }
}
