import type { DatabaseConfig } from '../process/messages.js';
import { PostgresDataTable } from './postgres-data-table.js';

/** The data table as a process of a node reaches it. Connects when it is first used. */
export function openDataTable(config: DatabaseConfig, onIdleError?: (error: Error) => void): PostgresDataTable {
  return new PostgresDataTable({
    connection: config.connection,
    mapping: config.mapping,
    embedded: config.kind === 'embedded',
    ...(onIdleError && { onIdleError }),
  });
}
