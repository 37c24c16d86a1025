import { spansContain } from '../topology/owners.js';
import type { SlotSpan } from '../topology/topology.js';
import type { CertifiedRow } from './row-digest.js';
import type { ShardState } from './state.js';

/**
 * Goes through what a shard knows for some slots at and above a horizon: first what it took over itself, then its own in
 * log order. A few rows at a time, since there may be millions; what is stored meanwhile comes at the end.
 */
export class KnownRowScan {
  private readonly adopted: Iterator<CertifiedRow>;
  private adoptedDone = false;
  private place: number;

  constructor(
    private readonly state: ShardState,
    private readonly slots: readonly SlotSpan[],
    private readonly horizon: number,
  ) {
    const adoptions = [...state.adoptions.values()];
    this.adopted = (function* () {
      for (const adoption of adoptions) yield* adoption.rows();
    })();
    this.place = state.known.firstPlace;
  }

  /** How many own entries lie before `end` and were not gone through. */
  left(end: number): number {
    return Math.max(0, end - this.place);
  }

  /**
   * The next rows among the own entries before the place `end`: `rowsMax` at most, after going through `entriesMax`
   * entries at most. `done`: everything before `end` has been gone through.
   */
  take(end: number, rowsMax: number, entriesMax: number): { rows: CertifiedRow[]; done: boolean } {
    const rows: CertifiedRow[] = [];
    const { known } = this.state;
    // What was swept since the last call was forgotten before the scan began, and is not in memory any more.
    this.place = Math.max(this.place, known.firstPlace);
    for (let passed = 0; passed < entriesMax && rows.length < rowsMax; passed++) {
      if (!this.adoptedDone) {
        const next = this.adopted.next();
        if (next.done) this.adoptedDone = true;
        else if (this.isWanted(next.value.timestamp, known.slot(next.value.account))) rows.push(next.value);
        continue;
      }
      if (this.place >= end) return { rows, done: true };
      const entry = known.at(this.place++);
      if (!this.isWanted(known.timestamp(entry), known.slotOfEntry(entry)) || known.isForgotten(entry)) continue;
      rows.push({
        account: known.account(entry),
        id: known.id(entry),
        amount: known.amount(entry),
        timestamp: known.timestamp(entry),
        shard: this.state.shard,
        sequence: known.sequence(entry),
      });
    }
    return { rows, done: this.adoptedDone && this.place >= end };
  }

  private isWanted(timestamp: number, slot: number): boolean {
    return timestamp >= this.horizon && spansContain(this.slots, slot);
  }
}
