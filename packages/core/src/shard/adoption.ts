/**
 * What a shard took over under one migration: transactions that another shard stored and that this one must recognise.
 * They answer retries with their first shard and sequence, and are in no sum and no fold of this shard.
 *
 * Known as soon as they are adopted; gone when the migration is dropped; forgotten like the shard's own, by the place in
 * this log of the record that adopted them, without waiting for the other log's fold, but not before the migration's
 * outcome is logged.
 */
import type { SlotSpan } from '../topology/topology.js';
import { accountName, type Batch, batchAccount } from '../transaction/batch.js';
import type { SmallState } from './events.js';
import type { IdHashKey } from './id-hash.js';
import { KnownIds, NONE } from './known-ids.js';
import type { LocatedKeys } from './located-keys.js';
import type { FirstSeen } from './submit-protocol.js';

const SEGMENT_ENTRIES = 65_535;

/** Rows, and where each was stored first. */
export interface AdoptedRows {
  readonly batch: Batch;
  readonly shards: Uint32Array;
  readonly sequences: Float64Array;
}

interface Origins {
  readonly shards: Uint32Array;
  readonly sequences: Float64Array;
}

export class Adoption {
  settled = false;
  readonly ids: KnownIds;
  /** By segment of `ids`. */
  private readonly origins: Origins[] = [];

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

  /** `sequence`: of the record that adopts. Whoever decided has looked that no row is known yet. */
  adopt({ batch, shards, sequences }: AdoptedRows, sequence: number): void {
    const { ids } = this;
    const from = ids.endPlace;
    ids.addRows(batch, null, sequence);
    for (let row = 0; row < batch.rows; row++) {
      this.originate(ids.at(from + row), shards[row] as number, sequences[row] as number);
    }
  }

  /** Where row `row` of a batch was stored first, if it was taken over. */
  find(batch: Batch, keys: LocatedKeys, row: number): FirstSeen | null {
    const { starts, hashes, accountHashes } = keys;
    const place = batchAccount(batch, row);
    const number = this.ids.accountNumber(accountName(batch, place), accountHashes[place]);
    if (number < 0) return null;
    const [from, to] = [starts[row] as number, starts[row + 1] as number];
    const entry = this.ids.find(number, hashes[row] as number, batch.bytes, from, to);
    return entry === NONE ? null : this.firstSeen(entry);
  }

  private firstSeen(entry: number): FirstSeen {
    return {
      shard: this.firstShard(entry),
      sequence: this.firstSequence(entry),
      timestamp: this.ids.timestamp(entry),
      amount: this.ids.amount(entry),
    };
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

  /** The shard that stored an entry's transaction, and in which record of its log. */
  firstShard(entry: number): number {
    return this.origins[entry >>> 16]!.shards[entry & 0xffff] as number;
  }

  firstSequence(entry: number): number {
    return this.origins[entry >>> 16]!.sequences[entry & 0xffff] as number;
  }

  private originate(entry: number, shard: number, sequence: number): void {
    const segment = entry >>> 16;
    this.origins[segment] ??= {
      shards: new Uint32Array(SEGMENT_ENTRIES),
      sequences: new Float64Array(SEGMENT_ENTRIES),
    };
    const { shards, sequences } = this.origins[segment];
    shards[entry & 0xffff] = shard;
    sequences[entry & 0xffff] = sequence;
  }
}
