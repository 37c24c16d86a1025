import type {
  AccountTotals,
  BalanceSnapshot,
  ConflictRow,
  DataTable,
  DirectOutcome,
  DirectTransaction,
  FoldedTo,
  FoldOutcome,
  FoldRequest,
  FoldTotals,
  LedgerQuery,
  LedgerRow,
  LedgerTotals,
  LogLedgerRow,
  OperatorAction,
  OperatorNote,
  SchemaStatement,
  SetAsideRow,
  TableMapping,
  TransactionKey,
  Watermark,
} from '@spill/core';
import pg from 'pg';
import { clearDirectMarks } from './clear-direct-marks.js';
import type { DataTableContext } from './data-table-context.js';
import { directWrite } from './direct-write.js';
import { foldTransaction } from './fold-transaction.js';
import {
  listConflicts,
  listOperatorActions,
  listSetAside,
  moveSetAside,
  resetWatermark,
  resolveConflict,
  writeOff,
} from './operator-actions.js';
import { readBalances } from './read-balances.js';
import { readClock } from './read-clock.js';
import { ledgerByKeys, retrieveLedger } from './read-ledger.js';
import { highestShard, ledgerOf } from './read-ledger-id.js';
import { accountTotals, conflictsOfLog, foldTotals, type LogRange, ledgerOfLog, ledgerTotals } from './read-totals.js';
import { applySchema, checkSchema, planSchema } from './schema.js';
import { dueSetAsideAccounts, retrySetAside } from './settle-set-aside.js';
import { runStatement, type TransactionLimits } from './sql-transaction.js';
import { tableSql } from './table-sql.js';
import { toWatermark, WATERMARK_COLUMNS } from './watermark-row.js';

export interface PostgresDataTableOptions {
  readonly mapping: TableMapping;
  /** `postgres://…`, or what `startEmbeddedDatabase` gave. */
  readonly connection: pg.PoolConfig;
  /** The embedded database: one connection, no COPY. */
  readonly embedded?: boolean;
  /** Connections at most. 1 for the embedded one, where more could only wait for each other. */
  readonly connectionsMax?: number;
  /** How long a fold waits for a locked row before it sets its transactions aside. */
  readonly lockMsMax?: number;
  /** How long one statement may run; after that, and 5 s for the way, the connection is given up. */
  readonly statementMsMax?: number;
  readonly connectMsMax?: number;
  /** The role that the processes connect as, where `applySchema` runs as another: who the GRANTs are for. */
  readonly grantTo?: string;
  /** An idle connection broke. Nothing was under way on it; the next use opens another. */
  readonly onIdleError?: (error: Error) => void;
}

export const LOCK_MS_MAX = 1_000;
export const STATEMENT_MS_MAX = 30_000;
const IDLE_IN_TRANSACTION_MS_MAX = 10_000;
/**
 * PGlite has no other session to wait for, and one that its server ends by a time-out is PGlite itself: it would not
 * answer any more. There the socket's server cuts off who stands still, and the client gives up by its own clock.
 */
const NO_LIMITS: TransactionLimits = { lockMsMax: 0, statementMsMax: 0, idleMsMax: 0 };
const ANSWER_MS = 5_000;
const CONNECT_MS_MAX = 5_000;
/** With one connection, waiting for it is waiting for what this process itself does on it. */
const EMBEDDED_CONNECT_MS_MAX = 30_000;

/** The data table behind `pg`: PostgreSQL, or the embedded PGlite through its socket. */
export class PostgresDataTable implements DataTable {
  private readonly context: DataTableContext;
  private readonly grantTo: string | null;
  private closed: Promise<void> | undefined;

  constructor(options: PostgresDataTableOptions) {
    const embedded = options.embedded === true;
    const statementMsMax = options.statementMsMax ?? STATEMENT_MS_MAX;
    const pool = new pg.Pool({
      application_name: 'spill',
      keepAlive: true,
      connectionTimeoutMillis: options.connectMsMax ?? (embedded ? EMBEDDED_CONNECT_MS_MAX : CONNECT_MS_MAX),
      query_timeout: statementMsMax + ANSWER_MS,
      ...options.connection,
      max: options.connectionsMax ?? (embedded ? 1 : 4),
    });
    // A session that is ended while it is handed over has no listener just then, and an error without one ends the process.
    // Whoever uses the connection meets the error again at the next statement.
    pool.on('connect', (client) => client.on('error', () => {}));
    // The pool has already let it go.
    pool.on('error', (error) => options.onIdleError?.(error));
    this.context = {
      pool,
      mapping: options.mapping,
      sql: tableSql(options.mapping),
      limits: embedded
        ? NO_LIMITS
        : { lockMsMax: options.lockMsMax ?? LOCK_MS_MAX, statementMsMax, idleMsMax: IDLE_IN_TRANSACTION_MS_MAX },
      bulk: embedded ? 'unnest' : 'copy',
    };
    this.grantTo = options.grantTo ?? null;
  }

  async fold(request: FoldRequest): Promise<FoldOutcome> {
    return await foldTransaction(this.context, request);
  }

  async ledger(keys: readonly TransactionKey[]): Promise<(LedgerRow | null)[]> {
    return await ledgerByKeys(this.context.pool, keys);
  }

  async direct(transaction: DirectTransaction, isLedger: (ledgerId: string) => boolean): Promise<DirectOutcome> {
    return await directWrite(this.context, transaction, isLedger);
  }

  async readBalances(accounts: readonly string[], shards: readonly number[]): Promise<BalanceSnapshot> {
    return await readBalances(this.context, accounts, shards);
  }

  async retrieve(
    query: LedgerQuery,
  ): Promise<{ rows: LedgerRow[]; watermarks: ReadonlyMap<number, Watermark | null> }> {
    return await retrieveLedger(this.context.pool, query);
  }

  async watermark(shard: number): Promise<Watermark | null> {
    const result = await runStatement(
      this.context.pool,
      `SELECT ${WATERMARK_COLUMNS} FROM spill.watermark WHERE shard = $1`,
      [shard],
    );
    return result.rows.length === 0 ? null : toWatermark(result.rows[0]);
  }

  async watermarks(): Promise<Watermark[]> {
    const result = await runStatement(
      this.context.pool,
      `SELECT ${WATERMARK_COLUMNS} FROM spill.watermark ORDER BY shard`,
    );
    return result.rows.map(toWatermark);
  }

  async ledgerOf(shard: number): Promise<{ ledgerId: string; watermark: Watermark | null }> {
    return await ledgerOf(this.context.pool, shard);
  }

  async highestShard(): Promise<number> {
    return await highestShard(this.context.pool);
  }

  async resetWatermark(
    watermark: Watermark,
    ledger: { readonly id: string; readonly renew: boolean },
    note: OperatorNote,
  ): Promise<string> {
    return await resetWatermark(this.context, watermark, ledger, note);
  }

  async listSetAside(filter: { account?: string; limit: number }): Promise<SetAsideRow[]> {
    return await listSetAside(this.context.pool, filter);
  }

  async dueSetAsideAccounts(query: { after?: string; limit: number }): Promise<string[]> {
    return await dueSetAsideAccounts(this.context.pool, query);
  }

  async retrySetAside(filter: {
    accounts?: readonly string[];
    dueOnly: boolean;
    limit: number;
  }): Promise<{ applied: number; remaining: number }> {
    return await retrySetAside(this.context, filter);
  }

  async moveSetAside(key: TransactionKey, toAccount: string, note: OperatorNote): Promise<LedgerRow> {
    return await moveSetAside(this.context, key, toAccount, note);
  }

  async writeOff(key: TransactionKey, note: OperatorNote): Promise<LedgerRow> {
    return await writeOff(this.context, key, note);
  }

  async listConflicts(filter: { state?: 'open' | 'resolved'; limit: number }): Promise<ConflictRow[]> {
    return await listConflicts(this.context.pool, filter);
  }

  async resolveConflict(
    key: { logId: string; sequence: number; index: number },
    note: OperatorNote,
  ): Promise<ConflictRow> {
    return await resolveConflict(this.context, key, note);
  }

  async listOperatorActions(limit: number): Promise<OperatorAction[]> {
    return await listOperatorActions(this.context.pool, limit);
  }

  async clearDirectMarks(before: number, watermarks: readonly FoldedTo[]): Promise<number> {
    return await clearDirectMarks(this.context, before, watermarks);
  }

  async accountTotals(query: {
    after?: string;
    accounts?: readonly string[];
    limit: number;
  }): Promise<{ accounts: AccountTotals[]; watermarks: ReadonlyMap<number, Watermark> }> {
    return await accountTotals(this.context, query);
  }

  async foldTotals(): Promise<FoldTotals[]> {
    return await foldTotals(this.context.pool);
  }

  async ledgerTotals(): Promise<LedgerTotals[]> {
    return await ledgerTotals(this.context.pool);
  }

  async ledgerOfLog(
    query: LogRange & { after?: { readonly sequence: number; readonly index: number }; limit: number },
  ): Promise<LogLedgerRow[]> {
    return await ledgerOfLog(this.context.pool, query);
  }

  async conflictsOfLog(query: LogRange): Promise<ConflictRow[]> {
    return await conflictsOfLog(this.context.pool, query);
  }

  /** The database's clock, microseconds since 1970. */
  async clock(): Promise<number> {
    return await readClock(this.context.pool);
  }

  async checkSchema(): Promise<string[]> {
    return await checkSchema(this.context, this.grantTo);
  }

  async planSchema(): Promise<SchemaStatement[]> {
    return await planSchema(this.context, this.grantTo);
  }

  async applySchema(): Promise<void> {
    await applySchema(this.context, this.grantTo);
  }

  /** Ends its connections, once what is under way has ended. Twice does no harm. */
  async close(): Promise<void> {
    this.closed ??= this.context.pool.end();
    await this.closed;
  }
}
