/**
 * What a shard took over under one migration: transactions that another shard stored and that this one must recognise.
 * They answer retries with their first shard and sequence, and are in no sum and no fold of this shard.
 *
 * Known as soon as they are adopted; gone when the migration is dropped; forgotten like the shard's own, by the place in
 * this log of the record that adopted them, without waiting for the other log's fold, but not before the migration's
 * outcome is logged.
 */
import type { SlotSpan } from '../topology/topology.js';
import type { SmallState } from './events.js';
import type { IdHashKey } from './id-hash.js';
import { KnownIds, NONE } from './known-ids.js';
import type { CertifiedRow } from './row-digest.js';
import type { FirstSeen } from './submit-protocol.js';

const SEGMENT_ENTRIES = 65_535;

interface Origins {
  readonly shards: Uint32Array;
  readonly sequences: Float64Array;
}

export class Adoption {
  settled = false;
  private readonly ids: KnownIds;
  private readonly origins = new Map<number, Origins>();

  constructor(
    readonly migration: number,
    readonly slots: readonly SlotSpan[],
    key: IdHashKey,
    slotOf: (account: string) => number,
  ) {
    this.ids = new KnownIds(key, slotOf, SEGMENT_ENTRIES);
  }

  get size(): number {
    return this.ids.size;
  }

  /** Whether everything in it is forgotten. */
  get isEmpty(): boolean {
    return this.settled && this.ids.entries().next().done === true;
  }

  /** `id`: its bytes. `sequence`: of the record that adopts. The caller has looked that the row is not known yet. */
  add(
    account: string,
    id: Uint8Array,
    amount: bigint,
    timestamp: number,
    first: { readonly shard: number; readonly sequence: number },
    sequence: number,
  ): void {
    const number = this.ids.internAccount(account);
    const low = Number(BigInt.asUintN(32, amount));
    const high = Number(BigInt.asIntN(32, amount >> 32n));
    const place = this.ids.endPlace;
    this.ids.add(number, this.ids.hash(id, 0, id.length), id, 0, id.length, low, high, timestamp, sequence);
    const entry = this.ids.at(place);
    let origins = this.origins.get(entry >>> 16);
    if (!origins) {
      origins = { shards: new Uint32Array(SEGMENT_ENTRIES), sequences: new Float64Array(SEGMENT_ENTRIES) };
      this.origins.set(entry >>> 16, origins);
    }
    origins.shards[entry & 0xffff] = first.shard;
    origins.sequences[entry & 0xffff] = first.sequence;
  }

  find(account: string, idHash: number, bytes: Uint8Array, from: number, to: number): FirstSeen | null {
    const number = this.ids.accountNumber(account);
    if (number < 0) return null;
    const entry = this.ids.find(number, idHash, bytes, from, to);
    return entry === NONE ? null : this.first(entry);
  }

  /** Every row that is still known, in the order of adoption. */
  *rows(): Generator<CertifiedRow> {
    for (const entry of this.ids.entries()) {
      const { shard, sequence, timestamp, amount } = this.first(entry);
      yield { account: this.ids.account(entry), id: this.ids.id(entry), amount, timestamp, shard, sequence };
    }
  }

  /**
   * Forgets what the small state says is forgotten, once settled. Each span of it counts, whenever it was logged: a
   * horizon that an operator took back must not bring to mind what a replay would not find any more.
   * Returns the first record that still holds a known row, or `none`.
   */
  forget({ forgottenBelow, foldedUpTo, forgottenAlso }: SmallState, none: number): number {
    if (!this.settled) return this.ids.forget(0, 0, none);
    return this.ids.forget(forgottenBelow, foldedUpTo, none, forgottenAlso);
  }

  sweep(entriesMax: number): void {
    this.ids.sweep(entriesMax);
  }

  private first(entry: number): FirstSeen & { shard: number; sequence: number } {
    const origins = this.origins.get(entry >>> 16)!;
    return {
      shard: origins.shards[entry & 0xffff] as number,
      sequence: origins.sequences[entry & 0xffff] as number,
      timestamp: this.ids.timestamp(entry),
      amount: this.ids.amount(entry),
    };
  }
}
