import { DataTableSchemaError, DataTableUnavailableError, type TableMapping } from '@spill/core';
import type { Settings } from '../config/settings.js';
import { ensureDefaultTable, PostgresDataTable } from '../data-table/index.js';
import { keepEmbeddedDatabase } from './keep-embedded-database.js';
import type { DatabaseConfig } from './messages.js';
import type { NodeLog } from './node-log.js';
import { StartError } from './start-error.js';
import { withoutLogin } from './without-login.js';

export interface NodeDatabase {
  /** For the processes. */
  readonly config: DatabaseConfig;
  stop(): Promise<void>;
}

const CHECK_AGAIN_MS = 5_000;

/**
 * The data table's database: the embedded one is started here and prepared by itself; PostgreSQL is looked at. One that
 * is down is only warned of, since spill takes transactions without it, and is looked at again until it is up.
 *
 * @throws StartError where it can be reached and is not prepared.
 */
export async function openNodeDatabase(settings: Settings, log: NodeLog): Promise<NodeDatabase> {
  return settings.databaseUrl === null
    ? openEmbedded(settings, log)
    : openPostgres(settings, settings.databaseUrl, log);
}

/**
 * For a first start: the highest shard that an older cluster has left in the database; 0: none, or it is down.
 *
 * @throws StartError where it can be reached and does not answer this.
 */
export async function askHighestShard(settings: Settings, log: NodeLog): Promise<number> {
  // The embedded one lies in the data folder, which is new.
  if (settings.databaseUrl === null) return 0;
  const connection = { connectionString: settings.databaseUrl };
  const table = new PostgresDataTable({ connection, mapping: settings.mapping, connectionsMax: 1 });
  try {
    return await table.highestShard();
  } catch (error) {
    if (!(error instanceof DataTableUnavailableError)) {
      throw asStartError(error, `database_url is ${JSON.stringify(withoutLogin(settings.databaseUrl))}`);
    }
    log.warn(
      `first start, and ${error.message}: the shards are numbered from 1. If an older cluster has folded into this ` +
        "database under the same numbers, they will be 'damaged' once it is up; where they are, `spill repair` says the way out",
    );
    return 0;
  } finally {
    await table.close();
  }
}

async function openEmbedded(settings: Settings, log: NodeLog): Promise<NodeDatabase> {
  const { mapping } = settings;
  const server = await keepEmbeddedDatabase(settings.dataDir, log);
  try {
    if (isDefaultTable(mapping)) await ensureDefaultTable(server.connection);
    const table = new PostgresDataTable({ connection: server.connection, mapping, embedded: true });
    try {
      await table.applySchema();
    } finally {
      await table.close();
    }
  } catch (error) {
    await server.stop();
    throw asStartError(error, 'the embedded database');
  }
  log.info('embedded database (PGlite), for trying out: it does not sync to disk');
  return {
    config: { kind: 'embedded', connection: server.connection, mapping },
    stop: () => server.stop(),
  };
}

async function openPostgres(settings: Settings, url: string, log: NodeLog): Promise<NodeDatabase> {
  const { mapping } = settings;
  const connection = { connectionString: url };
  const look = async (): Promise<void> => {
    const table = new PostgresDataTable({ connection, mapping, connectionsMax: 1 });
    try {
      if (settings.applySchema) await table.applySchema();
      const problems = await table.checkSchema();
      if (problems.length > 0) throw new DataTableSchemaError(problems);
    } finally {
      await table.close();
    }
  };

  let timer: NodeJS.Timeout | undefined;
  let stopped = false;
  const lookAgain = (last: string): void => {
    timer = setTimeout(async () => {
      let now = '';
      try {
        await look();
      } catch (error) {
        now = (error as Error).message;
      }
      if (stopped) return;
      if (now === '') log.info('the database is there and prepared');
      else {
        if (now !== last) log.error(`the database: ${now}`);
        lookAgain(now);
      }
    }, CHECK_AGAIN_MS);
  };
  try {
    await look();
  } catch (error) {
    if (!(error instanceof DataTableUnavailableError))
      throw asStartError(error, `database_url is ${JSON.stringify(withoutLogin(url))}`);
    log.warn(`${error.message}; transactions are stored all the same, and folded once it is back`);
    lookAgain(error.message);
  }
  return {
    config: { kind: 'postgres', connection, mapping },
    stop: async () => {
      stopped = true;
      clearTimeout(timer);
    },
  };
}

function isDefaultTable(mapping: TableMapping): boolean {
  return (
    mapping.table === 'accounts' &&
    mapping.idColumn === 'id' &&
    mapping.idType === 'text' &&
    mapping.balanceColumn === 'balance' &&
    mapping.balanceType === 'int8'
  );
}

function asStartError(error: unknown, what: string): unknown {
  if (!(error instanceof DataTableSchemaError)) return error;
  const lines = error.problems.map((problem) => `${what}: ${problem}`);
  return new StartError(lines.join('\n'), { cause: error });
}
