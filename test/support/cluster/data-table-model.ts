/**
 * The data table as SQL would be: every statement sees and leaves a whole state. It can go away, be set back to an
 * earlier state, hold locked rows, and commit a write whose answer is lost.
 */
import type {
  BalanceSnapshot,
  DirectOutcome,
  DirectTransaction,
  FoldOutcome,
  FoldRequest,
  LedgerRow,
  Watermark,
} from '@spill/core';

export interface LedgerEntry {
  readonly row: LedgerRow;
  readonly logId: string | null;
}

export interface ConflictEntry {
  readonly account: string;
  readonly id: string;
  readonly amount: bigint;
  readonly shard: number;
  readonly sequence: number;
  readonly index: number;
}

interface State {
  readonly ledger: ReadonlyMap<string, LedgerEntry>;
  readonly conflicts: ReadonlyMap<string, ConflictEntry>;
  readonly watermarks: ReadonlyMap<number, Watermark>;
  readonly directMarks: ReadonlySet<string>;
}

const NOTHING: State = { ledger: new Map(), conflicts: new Map(), watermarks: new Map(), directMarks: new Set() };

export function keyOf(account: string, id: string): string {
  return JSON.stringify([account, id]);
}

export class DataTableModel {
  away = false;
  wasSetBack = false;
  /** Rows that somebody else holds: what comes for them is set aside. */
  readonly locked = new Set<string>();
  private state: State = NOTHING;
  private readonly history: State[] = [NOTHING];

  get ledger(): ReadonlyMap<string, LedgerEntry> {
    return this.state.ledger;
  }

  get conflicts(): ReadonlyMap<string, ConflictEntry> {
    return this.state.conflicts;
  }

  get watermarks(): ReadonlyMap<number, Watermark> {
    return this.state.watermarks;
  }

  /** What an account's row holds, and what is set aside for it. */
  sums(account: string): { row: bigint; setAside: bigint } {
    let row = 0n;
    let setAside = 0n;
    for (const { row: entry } of this.state.ledger.values()) {
      if (entry.account !== account) continue;
      if (entry.state === 'applied') row += entry.amount;
      else setAside += entry.amount;
    }
    return { row, setAside };
  }

  /** A restore, or a failover that loses the last writes. */
  setBack(writes: number): void {
    this.wasSetBack = true;
    this.history.splice(Math.max(1, this.history.length - writes));
    this.state = this.history.at(-1) as State;
  }

  /** The same, to the last state in which the shard was not folded to `sequence` yet. */
  setBackBefore(shard: number, sequence: number): void {
    const at = this.history.findLastIndex(({ watermarks }) => (watermarks.get(shard)?.sequence ?? 0) < sequence);
    if (at !== -1) this.setBack(this.history.length - 1 - at);
  }

  fold(request: FoldRequest): FoldOutcome {
    const row = this.state.watermarks.get(request.shard) ?? null;
    const { from, to } = request;
    const same =
      row === null
        ? from.sequence === 0
        : row.logId === from.logId && row.sequence === from.sequence && row.hash === from.hash;
    if (!same) return { outcome: 'watermark_differs', watermark: row };
    if (row !== null && row.assignment > request.assignment) return { outcome: 'superseded', watermark: row };
    const ledger = new Map(this.state.ledger);
    const conflicts = new Map(this.state.conflicts);
    const directMarks = new Set(this.state.directMarks);
    const counts = { applied: 0, dropped: 0, setAside: 0, conflicts: 0 };
    const { rows } = request;
    for (let i = 0; i < rows.length; i++) {
      const [account, id, amount] = [rows.accounts[i] as string, rows.ids[i] as string, rows.amounts[i] as bigint];
      const [sequence, index, timestamp] = [rows.sequences[i]!, rows.indexes[i]!, rows.timestamps[i]!];
      const key = keyOf(account, id);
      const there = ledger.get(key);
      if (there) {
        // Another amount is another transaction: the direct write's own copy may still be pending in another pool.
        if (there.row.amount === amount) directMarks.delete(key);
        if (there.row.amount === amount) counts.dropped += 1;
        else {
          counts.conflicts += 1;
          const { shard } = request;
          conflicts.set(`${from.logId} ${sequence} ${index}`, { account, id, amount, shard, sequence, index });
        }
        continue;
      }
      const setAside = request.setAsideAll === true || this.locked.has(account);
      counts[setAside ? 'setAside' : 'applied'] += 1;
      const state = setAside ? 'set_aside' : 'applied';
      const reason = setAside ? 'row_locked' : null;
      const { shard } = request;
      const entry: LedgerRow = { account, id, amount, timestamp, shard, sequence, state, reason, appliedAccount: null };
      ledger.set(key, { row: entry, logId: from.logId });
    }
    const assignment = Math.max(row?.assignment ?? 0, request.assignment);
    const watermark: Watermark = { shard: request.shard, logId: from.logId, ...to, assignment };
    const watermarks = new Map(this.state.watermarks).set(request.shard, watermark);
    this.commit({ ledger, conflicts, watermarks, directMarks });
    return { outcome: 'folded', watermark, ...counts };
  }

  direct({ account, id, amount, timestamp }: DirectTransaction): DirectOutcome {
    const key = keyOf(account, id);
    const there = this.state.ledger.get(key)?.row;
    if (there) return { outcome: there.amount === amount ? 'duplicate' : 'id_conflict', row: there };
    if (this.locked.has(account)) return { outcome: 'unavailable', detail: 'the row is locked' };
    const nowhere = { shard: null, sequence: null, reason: null, appliedAccount: null };
    const row: LedgerRow = { account, id, amount, timestamp, state: 'applied', ...nowhere };
    const ledger = new Map(this.state.ledger).set(key, { row, logId: null });
    this.commit({ ...this.state, ledger, directMarks: new Set(this.state.directMarks).add(key) });
    return { outcome: 'applied' };
  }

  lookUp(keys: readonly { account: string; id: string }[]): (LedgerRow | null)[] {
    return keys.map(({ account, id }) => this.state.ledger.get(keyOf(account, id))?.row ?? null);
  }

  readBalances(accounts: readonly string[], shards: readonly number[]): BalanceSnapshot {
    return {
      accounts: accounts.map((account) => {
        const { row, setAside } = this.sums(account);
        const entries = [...this.state.ledger.values()].filter((entry) => entry.row.account === account);
        const directIds = entries
          .filter((entry) => this.state.directMarks.has(keyOf(account, entry.row.id)))
          .map((entry) => entry.row.id);
        return { account, row, rowProblem: null, setAside, directIds, known: entries.length > 0 };
      }),
      watermarks: new Map(shards.map((shard) => [shard, this.state.watermarks.get(shard) ?? null])),
    };
  }

  dueSetAsideAccounts(): string[] {
    const due = [...this.state.ledger.values()].filter(({ row }) => row.state === 'set_aside');
    return [...new Set(due.map(({ row }) => row.account))].sort();
  }

  retrySetAside(accounts: readonly string[]): { applied: number; remaining: number } {
    const ledger = new Map(this.state.ledger);
    let applied = 0;
    let remaining = 0;
    for (const [key, { row, logId }] of ledger) {
      if (row.state !== 'set_aside' || !accounts.includes(row.account)) continue;
      if (this.locked.has(row.account)) remaining += 1;
      else {
        ledger.set(key, { row: { ...row, state: 'applied' }, logId });
        applied += 1;
      }
    }
    if (applied > 0) this.commit({ ...this.state, ledger });
    return { applied, remaining };
  }

  private commit(state: State): void {
    this.state = state;
    this.history.push(state);
  }
}
