import { createHash } from 'node:crypto';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { FoldOutcome, FoldRequest, FoldRows, TableMapping, Transaction, Watermark } from '@spill/core';
import { DEFAULT_MAPPING, PostgresDataTable, type PostgresDataTableOptions, startEmbeddedDatabase } from '@spill/node';
import pg from 'pg';
import { prepareEmbeddedDataDir } from './embedded-data-dir.js';
import { startPostgres, type TestPostgres } from './postgres.js';

/** A database to test against, and how to reach it. */
export interface TestDatabase {
  readonly name: 'PostgreSQL' | 'PGlite';
  readonly connection: pg.PoolConfig;
  readonly embedded: boolean;
  readonly postgres: TestPostgres | null;
  stop(): Promise<void>;
}

export async function startTestDatabase(name: TestDatabase['name']): Promise<TestDatabase> {
  if (name === 'PostgreSQL') {
    const postgres = await startPostgres();
    return {
      name,
      connection: { connectionString: postgres.url },
      embedded: false,
      postgres,
      stop: () => postgres.stop(),
    };
  }
  const dataDir = mkdtempSync(join(tmpdir(), 'spill-pglite-'));
  await prepareEmbeddedDataDir(dataDir);
  const embedded = await startEmbeddedDatabase({ dataDir });
  return {
    name,
    connection: embedded.connection,
    embedded: true,
    postgres: null,
    async stop() {
      await embedded.stop();
      rmSync(dataDir, { recursive: true, force: true });
    },
  };
}

/** Every table of the tests and of spill gone; then `ddl`, then spill's schema. Returns a data table to close. */
export async function freshDataTable(
  database: TestDatabase,
  ddl = 'CREATE TABLE accounts (id text PRIMARY KEY, balance bigint NOT NULL DEFAULT 0)',
  mapping: Partial<TableMapping> = {},
  options: Partial<PostgresDataTableOptions> = {},
): Promise<PostgresDataTable> {
  await sql(database, `DROP SCHEMA IF EXISTS spill CASCADE; DROP TABLE IF EXISTS accounts CASCADE; ${ddl}`);
  const table = openDataTable(database, mapping, options);
  await table.applySchema();
  return table;
}

export function openDataTable(
  database: TestDatabase,
  mapping: Partial<TableMapping> = {},
  options: Partial<PostgresDataTableOptions> = {},
): PostgresDataTable {
  return new PostgresDataTable({
    mapping: { ...DEFAULT_MAPPING, ...mapping },
    connection: database.connection,
    embedded: database.embedded,
    lockMsMax: 300,
    ...options,
  });
}

/** Runs SQL on a connection of its own. */
export async function sql(
  database: TestDatabase,
  text: string,
  values?: unknown[],
): Promise<Record<string, unknown>[]> {
  const client = new pg.Client(database.connection);
  await client.connect();
  try {
    const result = await client.query(text, values);
    return Array.isArray(result) ? [] : result.rows;
  } finally {
    await client.end();
  }
}

/** Every shard's log has an id of its own. */
export function logOf(shard: number): string {
  return shard.toString(16).padStart(2, '0').repeat(16);
}

export const LOG = logOf(1);
export const ZERO_HASH = '0'.repeat(32);

export function startOf(shard: number, logId = logOf(shard), assignment = 1): Watermark {
  return { shard, logId, sequence: 0, number: 0, hash: ZERO_HASH, assignment };
}

/** `[account, id, amount]` of one record each, or of one record together. */
export type Row = readonly [account: string, id: string, amount: bigint];

/** A fold of one record that holds all rows. Hashes are derived from the sequence, so that a log is told by its view. */
export function foldOf(from: Watermark, rows: readonly Row[], options: Partial<FoldRequest> = {}): FoldRequest {
  const sequence = from.sequence + 1;
  return {
    shard: from.shard,
    pool: 'credit',
    assignment: from.assignment,
    from,
    ledgerId: null,
    to: { sequence, number: from.number + 1, hash: hashOf(sequence) },
    rows: foldRows(rows, sequence),
    ...options,
  };
}

export function foldRows(rows: readonly Row[], sequence: number): FoldRows {
  return {
    length: rows.length,
    accounts: rows.map((row) => row[0]),
    ids: rows.map((row) => row[1]),
    amounts: rows.map((row) => row[2]),
    timestamps: rows.map((_, index) => timestampOf(sequence, index)),
    sequences: rows.map(() => sequence),
    indexes: rows.map((_, index) => index),
  };
}

export function timestampOf(sequence: number, index: number): number {
  return 1_764_000_000_123_456 + sequence * 1_000 + index;
}

export function hashOf(sequence: number): string {
  return createHash('sha256').update(String(sequence)).digest('hex').slice(0, 32);
}

/** For direct writes of tests that have one ledger only. */
export const anyLedger = (): boolean => true;

export function transaction(account: string, id: string, amount: bigint, timestamp = timestampOf(0, 0)): Transaction {
  return { account, id, amount, timestamp };
}

/** The watermark of a fold that must have happened. */
export function folded(outcome: FoldOutcome): Extract<FoldOutcome, { outcome: 'folded' }> {
  if (outcome.outcome !== 'folded') throw new Error(`expected a fold, got ${JSON.stringify(outcome)}`);
  return outcome;
}
