import type { TableMapping } from '@spill/core';
import pg from 'pg';

/** The table of the quick start: what a user's own plain table looks like. */
export const DEFAULT_MAPPING: TableMapping = {
  table: 'accounts',
  idColumn: 'id',
  idType: 'text',
  balanceColumn: 'balance',
  balanceType: 'int8',
  minorUnits: 0,
  createAccounts: false,
};

/** Creates `accounts(id, balance)` where there is no such table, for trying spill out with the embedded database. */
export async function ensureDefaultTable(connection: pg.ClientConfig): Promise<void> {
  const client = new pg.Client(connection);
  await client.connect();
  try {
    await client.query('CREATE TABLE IF NOT EXISTS accounts (id text PRIMARY KEY, balance bigint NOT NULL DEFAULT 0)');
  } finally {
    await client.end();
  }
}
