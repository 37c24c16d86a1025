import { spansOverlap } from '../topology/owners.js';
import { SLOT_COUNT } from '../topology/slot.js';
import type { SlotSpan } from '../topology/topology.js';
import type { Adoption } from './adoption.js';
import type { KnownIds } from './known-ids.js';
import type { CertifiedRow } from './row-digest.js';
import type { ShardState } from './state.js';

/** The row that a scan has reached; the next one takes its place. */
class ReachedRow implements CertifiedRow {
  account = '';
  bytes = new Uint8Array();
  idFrom = 0;
  idTo = 0;
  amount = 0n;
  timestamp = 0;
  shard = 0;
  sequence = 0;
}

/**
 * Goes through what a shard knows for some slots at and above a horizon: first what it took over itself, then its own in
 * log order. A few rows at a time, since there may be millions; what is stored meanwhile comes at the end.
 */
export class KnownRowScan {
  private readonly adopted: readonly Adoption[];
  private readonly wanted = new Uint8Array(SLOT_COUNT);
  private readonly row = new ReachedRow();
  /** Which of `adopted` is gone through; past the last: the shard's own. */
  private part = 0;
  private place: number;

  constructor(
    private readonly state: ShardState,
    slots: readonly SlotSpan[],
    private readonly horizon: number,
  ) {
    this.adopted = [...state.adoptions.values()].filter((adoption) => spansOverlap(adoption.slots, slots));
    for (const { from, to } of slots) this.wanted.fill(1, from, to);
    this.place = this.ids.firstPlace;
  }

  /** How many entries, the own ones up to the place `end`, were not gone through. */
  left(end: number): number {
    if (this.part === this.adopted.length) return Math.max(0, end - this.place);
    const later = this.adopted.slice(this.part + 1).reduce((sum, { ids }) => sum + ids.size, 0);
    return this.ids.endPlace - this.place + later + Math.max(0, end - this.state.known.firstPlace);
  }

  /**
   * Calls `take` with the next rows among the own entries before the place `end`, `rowsMax` at most, after going through
   * `entriesMax` entries at most. A row is read at once: the next one takes its place. Returns whether everything before
   * `end` has been gone through.
   */
  take(end: number, rowsMax: number, entriesMax: number, take: (row: CertifiedRow) => void): boolean {
    let rows = 0;
    for (let passed = 0; passed < entriesMax && rows < rowsMax; ) {
      const { ids } = this;
      const own = this.part === this.adopted.length;
      const partEnd = own ? end : ids.endPlace;
      // What was swept since the last call was forgotten before the scan began, and is not in memory any more.
      this.place = Math.max(this.place, ids.firstPlace);
      for (; this.place < partEnd && passed < entriesMax && rows < rowsMax; passed++) {
        const entry = ids.at(this.place++);
        if (!this.isWanted(ids, entry)) continue;
        this.reach(ids, entry);
        take(this.row);
        rows += 1;
      }
      if (this.place < partEnd) break;
      if (own) return true;
      this.part += 1;
      this.place = this.ids.firstPlace;
    }
    return this.part === this.adopted.length && this.place >= end;
  }

  private get ids(): KnownIds {
    return this.adopted[this.part]?.ids ?? this.state.known;
  }

  private isWanted(ids: KnownIds, entry: number): boolean {
    return ids.timestamp(entry) >= this.horizon && this.wanted[ids.slotOfEntry(entry)] === 1 && !ids.isForgotten(entry);
  }

  private reach(ids: KnownIds, entry: number): void {
    const { row } = this;
    row.account = ids.account(entry);
    row.bytes = ids.idBytes(entry);
    row.idFrom = ids.idFrom(entry);
    row.idTo = ids.idTo(entry);
    row.amount = ids.amount(entry);
    row.timestamp = ids.timestamp(entry);
    const adoption = this.adopted[this.part];
    row.shard = adoption ? adoption.firstShard(entry) : this.state.shard;
    row.sequence = adoption ? adoption.firstSequence(entry) : ids.sequence(entry);
  }
}
