import type { TableMapping } from '@spill/core';
import type pg from 'pg';
import type { TransactionLimits } from './sql-transaction.js';
import type { TableSql } from './table-sql.js';

/** What every operation on the data table needs. */
export interface DataTableContext {
  readonly pool: pg.Pool;
  readonly mapping: TableMapping;
  readonly sql: TableSql;
  readonly limits: TransactionLimits;
  /**
   * How ledger rows are sent. `copy` is half as quick again (measured, ARCHITECTURE.md), but PGlite can't take a COPY
   * that comes in several messages.
   */
  readonly bulk: 'copy' | 'unnest';
}
