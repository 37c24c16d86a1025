import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { Worker } from 'node:worker_threads';
import type pg from 'pg';

/** `sun_path` is 108 bytes on Linux, 104 on macOS. */
const SOCKET_PATH_BYTES_MAX = 100;
/** `pg` adds this to the folder that it is given as host. */
const SOCKET_NAME = '.s.PGSQL.5432';
/** Names the folder of the socket, for other processes on this machine (the CLI). */
const SOCKET_DIR_FILE = 'socket-dir';

export interface EmbeddedDatabaseOptions {
  /** The node's data folder; the database lies in `database` below it, the socket beside it. */
  readonly dataDir: string;
  /**
   * How long a session may hold a transaction without a word while others wait, in milliseconds; then it is cut off.
   * There is one session at a time, so a stopped process would otherwise stop everybody.
   */
  readonly holdMsMax?: number;
  readonly connectionsMax?: number;
}

export interface EmbeddedDatabase {
  /** For `pg`, together with `embedded: true` for `PostgresDataTable`. */
  readonly connection: pg.PoolConfig;
  readonly socketDir: string;
  /** Resolves when it has ended: null after `stop`, else why. */
  readonly exited: Promise<string | null>;
  /** Ends the connections and closes the database. */
  stop(): Promise<void>;
}

/**
 * Serves PGlite, for trying spill out without a PostgreSQL, to all processes of this machine that may enter the data
 * folder. Limits: one session in a transaction holds up all others; sessions share their settings, temporary tables
 * and named statements (spill uses none); no COPY; no row locks to wait for; nothing is fsynced.
 *
 * Only one process may do this for a folder at a time: PGlite has no lock of its own. The node's pid file sees to it.
 */
export async function startEmbeddedDatabase(options: EmbeddedDatabaseOptions): Promise<EmbeddedDatabase> {
  const dataDir = resolve(options.dataDir);
  const databaseDir = join(dataDir, 'database');
  mkdirSync(databaseDir, { recursive: true, mode: 0o700 });
  const { socketDir, temporary } = prepareSocketDir(dataDir);
  const worker = new Worker(new URL('./embedded-database-worker.js', import.meta.url), {
    workerData: {
      databaseDir,
      socketPath: join(socketDir, SOCKET_NAME),
      holdMsMax: options.holdMsMax ?? 10_000,
      connectionsMax: options.connectionsMax ?? 100,
    },
  });

  let failure: string | null = null;
  let stopping = false;
  const exited = new Promise<string | null>((resolve) => {
    worker.on('error', (error) => {
      failure ??= `the embedded database failed: ${error.message}`;
    });
    worker.once('exit', (code) => {
      if (temporary) rmSync(socketDir, { recursive: true, force: true });
      resolve(failure ?? (stopping && code === 0 ? null : `the embedded database ended with code ${code}`));
    });
  });
  await new Promise<void>((resolve, reject) => {
    worker.on('message', (message: { ready?: true; failed?: string }) => {
      if (message.failed !== undefined) failure = message.failed;
      if (message.ready === true) resolve();
    });
    void exited.then((why) => reject(new Error(why ?? 'the embedded database ended')));
  });

  return {
    connection: embeddedConnection(socketDir),
    socketDir,
    exited,
    async stop() {
      stopping = true;
      worker.postMessage('stop');
      const why = await exited;
      if (why !== null) throw new Error(why);
    },
  };
}

/** How another process on this machine reaches the embedded database of a data folder; null: it has none. */
export function findEmbeddedDatabase(dataDir: string): pg.PoolConfig | null {
  try {
    return embeddedConnection(readFileSync(join(dataDir, SOCKET_DIR_FILE), 'utf8').trim());
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
}

function embeddedConnection(socketDir: string): pg.PoolConfig {
  return { host: socketDir, port: 5432, user: 'postgres', database: 'postgres' };
}

/**
 * The socket lies in the data folder, or where that path is longer than a socket's may be, in a private temporary
 * folder that is named there. A socket that a killed process left is removed.
 */
function prepareSocketDir(dataDir: string): { socketDir: string; temporary: boolean } {
  const temporary = Buffer.byteLength(join(dataDir, SOCKET_NAME)) > SOCKET_PATH_BYTES_MAX;
  const socketDir = temporary ? mkdtempSync(join(tmpdir(), 'spill-')) : dataDir;
  rmSync(join(socketDir, SOCKET_NAME), { force: true });
  writeFileSync(join(dataDir, SOCKET_DIR_FILE), `${socketDir}\n`, { mode: 0o600 });
  return { socketDir, temporary };
}
