import { findEmbeddedDatabase, PostgresDataTable, type Settings } from '@spill/node';
import { usageError } from './cli-error.js';

/** A person would rather wait than try again. */
const CONNECT_MS_MAX = 10_000;

export interface OpenDataTable {
  /** Who the GRANTs of `schema apply` are for, where nodes connect as another role. */
  readonly grantTo?: string;
}

/**
 * The data table that operators' commands act on: the one of `database_url`, or the embedded one that a node serves
 * from the data folder.
 */
export function openDataTable(settings: Settings, options: OpenDataTable = {}): PostgresDataTable {
  const { mapping } = settings;
  if (settings.databaseUrl !== null) {
    return new PostgresDataTable({
      connection: { connectionString: settings.databaseUrl },
      mapping,
      connectionsMax: 1,
      connectMsMax: CONNECT_MS_MAX,
      ...options,
    });
  }
  const connection = findEmbeddedDatabase(settings.dataDir);
  if (!connection) {
    throw usageError(
      `data_dir is ${JSON.stringify(settings.dataDir)}: no node with an embedded database was ever started there; ` +
        "name the node's folder with --data-dir, or a PostgreSQL with --database-url",
    );
  }
  return new PostgresDataTable({ connection, mapping, embedded: true, connectMsMax: CONNECT_MS_MAX, ...options });
}
