import type {
  BalanceSnapshot,
  DataTable,
  DirectOutcome,
  DirectTransaction,
  LedgerQuery,
  LedgerRow,
  Watermark,
} from '@spill/core';

/** What a router asks of a data table, from maps in memory. The rest of the port is not there. */
export class FakeDataTable {
  readonly rows = new Map<string, bigint>();
  readonly ledgerRows: LedgerRow[] = [];
  readonly directIds = new Map<string, string[]>();
  readonly foldedTo = new Map<number, Watermark>();
  readonly directWrites: DirectTransaction[] = [];
  rowProblem: string | null = null;
  /** Thrown by every statement. */
  down: Error | null = null;
  onDirect: (transaction: DirectTransaction) => Promise<DirectOutcome> = async (transaction) => {
    this.directWrites.push(transaction);
    return { outcome: 'applied' };
  };
  /** Called in the middle of a statement, after its snapshot was taken. */
  afterSnapshot: () => void | Promise<void> = () => {};

  asDataTable(): DataTable {
    return this as unknown as DataTable;
  }

  /** A fold as the real one leaves it: ledger, row and watermark at once. */
  fold(
    shard: number,
    logId: string,
    sequence: number,
    rows: readonly Pick<LedgerRow, 'account' | 'id' | 'amount' | 'timestamp'>[],
  ): void {
    this.foldedTo.set(shard, { shard, logId, sequence, number: sequence, hash: '00'.repeat(16), assignment: 1 });
    for (const row of rows) this.add({ ...row, shard, sequence });
  }

  add(row: Partial<LedgerRow> & Pick<LedgerRow, 'account' | 'id' | 'amount' | 'timestamp'>): void {
    const full: LedgerRow = {
      shard: null,
      sequence: null,
      state: 'applied',
      reason: null,
      appliedAccount: null,
      ...row,
    };
    this.ledgerRows.push(full);
    if (full.state === 'applied') this.rows.set(row.account, (this.rows.get(row.account) ?? 0n) + row.amount);
  }

  async readBalances(accounts: readonly string[], shards: readonly number[]): Promise<BalanceSnapshot> {
    this.refuse();
    const snapshot: BalanceSnapshot = {
      accounts: accounts.map((account) => {
        const rows = this.ledgerRows.filter((row) => row.account === account);
        const setAside = rows.filter((row) => row.state === 'set_aside').reduce((sum, row) => sum + row.amount, 0n);
        return {
          account,
          row: this.rowProblem ? null : (this.rows.get(account) ?? null),
          rowProblem: this.rowProblem,
          setAside,
          directIds: this.directIds.get(account) ?? [],
          known: rows.length > 0,
        };
      }),
      watermarks: new Map(shards.map((shard) => [shard, this.foldedTo.get(shard) ?? null])),
    };
    await this.afterSnapshot();
    return snapshot;
  }

  async ledger(keys: readonly { account: string; id: string }[]): Promise<(LedgerRow | null)[]> {
    this.refuse();
    const found = keys.map(
      ({ account, id }) => this.ledgerRows.find((row) => row.account === account && row.id === id) ?? null,
    );
    await this.afterSnapshot();
    return found;
  }

  async retrieve({ account, after, from, to, state, limit }: LedgerQuery) {
    this.refuse();
    const rows = this.ledgerRows
      .filter((row) => row.account === account && (state === undefined || row.state === state))
      .filter((row) => (from === undefined || row.timestamp >= from) && (to === undefined || row.timestamp < to))
      .filter((row) => after === undefined || compareKeys(row, after) > 0)
      .sort(compareKeys)
      .slice(0, limit);
    const watermarks = new Map<number, Watermark | null>(this.foldedTo);
    await this.afterSnapshot();
    return { rows, watermarks };
  }

  async watermarks(): Promise<Watermark[]> {
    this.refuse();
    return [...this.foldedTo.values()];
  }

  direct(transaction: DirectTransaction): Promise<DirectOutcome> {
    if (this.down) return Promise.reject(this.down);
    return this.onDirect(transaction);
  }

  private refuse(): void {
    if (this.down) throw this.down;
  }
}

export function compareKeys(a: { timestamp: number; id: string }, b: { timestamp: number; id: string }): number {
  return a.timestamp - b.timestamp || Buffer.compare(Buffer.from(a.id), Buffer.from(b.id));
}
