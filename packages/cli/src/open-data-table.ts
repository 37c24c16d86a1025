import {
  clusterMapping,
  findEmbeddedDatabase,
  PostgresDataTable,
  plainServers,
  readTopology,
  type Settings,
} from '@spill/node';
import { usageError } from './cli-error.js';
import type { CliSettings } from './cli-settings.js';

/** A person would rather wait than try again. */
const CONNECT_MS_MAX = 10_000;

export interface OpenDataTable {
  /** Who the GRANTs of `schema apply` are for, where nodes connect as another role. */
  readonly grantTo?: string;
}

/** What may be done with a mapping that nobody compared with the cluster's: nothing here adds to a row. */
export type UncheckedDataTable = Omit<PostgresDataTable, 'fold' | 'direct' | 'retrySetAside' | 'moveSetAside'>;

/**
 * The data table for commands that add to rows, with the mapping that its cluster's nodes fold with.
 *
 * @throws SpillError `unavailable` where the cluster is away; SettingsError where the settings contradict it; a usage
 *   error where the database is not the one that this cluster folds into.
 */
export async function openRowsOfCluster({ nats, timeoutMs, settings, given }: CliSettings): Promise<PostgresDataTable> {
  const topology = await readTopology({ servers: nats, prefix: settings.prefix, timeoutMs });
  const table = openDataTable({ ...settings, mapping: clusterMapping(topology, settings.mapping, given) });
  try {
    const logs = new Set(topology.shards.map(({ logId }) => logId));
    if ((await table.watermarks()).some(({ logId }) => logs.has(logId))) return table;
    throw usageError(
      `this database holds nothing that the cluster at ${plainServers(nats)} has folded: name the cluster with --nats ` +
        'and --prefix, and its database with --database-url or --data-dir',
    );
  } catch (error) {
    await table.close();
    throw error;
  }
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
