import { rmSync, symlinkSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { type EmbeddedDatabase, startEmbeddedDatabase } from '../data-table/index.js';
import type { NodeLog } from './node-log.js';

const RESTART_MIN_MS = 100;
const RESTART_MAX_MS = 10_000;

export interface KeptDatabase {
  /** Stays the same over restarts. */
  readonly connection: EmbeddedDatabase['connection'];
  stop(): Promise<void>;
}

/**
 * The embedded database, kept running: it is crash-only, so where it ends by itself it is started again, with
 * exponential back-off. Meanwhile folds wait, and transactions are taken all the same.
 */
export async function keepEmbeddedDatabase(dataDir: string, log: NodeLog): Promise<KeptDatabase> {
  let database = await startEmbeddedDatabase({ dataDir });
  const { connection, socketDir } = database;
  const stopping = new AbortController();
  const links: string[] = [];

  const restart = async (waitMs: number): Promise<void> => {
    // Rejects where it is aborted, which the caller's loop looks at.
    await delay(waitMs, undefined, { signal: stopping.signal }).catch(() => {});
    if (stopping.signal.aborted) return;
    try {
      database = await startEmbeddedDatabase({ dataDir });
    } catch (error) {
      log.error(`the embedded database could not be started again: ${(error as Error).message}`);
      return restart(Math.min(RESTART_MAX_MS, Math.max(RESTART_MIN_MS, waitMs * 2)));
    }
    if (database.socketDir !== socketDir) {
      // A temporary folder has another name each time; the processes were told the first.
      rmSync(socketDir, { recursive: true, force: true });
      symlinkSync(database.socketDir, socketDir);
      links.push(socketDir);
    }
    log.info('the embedded database runs again');
  };
  const keep = async (): Promise<void> => {
    let waitMs = 0;
    while (!stopping.signal.aborted) {
      const startedAt = performance.now();
      const why = await database.exited;
      if (stopping.signal.aborted) return;
      log.error(`${why ?? 'the embedded database ended'}; it is started again`);
      waitMs = performance.now() - startedAt > RESTART_MAX_MS ? 0 : Math.max(RESTART_MIN_MS, waitMs * 2);
      await restart(Math.min(RESTART_MAX_MS, waitMs));
    }
  };
  const kept = keep();
  return {
    connection,
    async stop() {
      stopping.abort();
      const stop = (): Promise<void> =>
        database.stop().catch((error: Error) => log.error(`stopping the embedded database: ${error.message}`));
      await stop();
      await kept;
      // Where it was being started again just then, that one is the present one now.
      await stop();
      for (const link of links) rmSync(link, { force: true });
    },
  };
}
