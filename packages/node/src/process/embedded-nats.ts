import { setTimeout as delay } from 'node:timers/promises';
import type { EmbeddedServer, ServerCluster } from '../nats/embedded-server.js';
import { startEmbeddedServer } from '../nats/embedded-server.js';
import { provideNatsServer } from '../nats/provide-nats-server.js';
import type { NodeLog } from './node-log.js';

const RESTART_MIN_MS = 100;
const RESTART_MAX_MS = 5_000;
/** Having run this long, it is restarted at once again. */
const STEADY_MS = 10_000;
/** The same complaint is said once in this time. */
const SAY_AGAIN_MS = 30_000;
const KINDS_KEPT = 1_000;
/** A server that can't write any more is started again after this, and as long as that lasts, again and again. */
const WRITE_ERROR_RESTART_MS = 10_000;

export interface EmbeddedNatsOptions {
  readonly dataDir: string;
  /** 0: any free one, which it then keeps. */
  readonly port: number;
  readonly serverName: string;
  readonly listen: string;
  /** null: it stands alone. */
  readonly cluster: ServerCluster | null;
  readonly log: NodeLog;
  /** Each time it has been started, also again. */
  onStarted(server: EmbeddedServer): void;
}

export interface EmbeddedNats {
  readonly url: string;
  readonly monitorUrl: string;
  readonly pid: number;
  /** Ends it, also while it is being restarted. */
  stop(): Promise<void>;
}

/**
 * The embedded nats-server, kept running: where it ends by itself or is killed it is started again on the same ports,
 * with exponential back-off; shards and router wait or are started again meanwhile.
 */
export async function keepEmbeddedNats(options: EmbeddedNatsOptions): Promise<EmbeddedNats> {
  const { log } = options;
  const binary = await provideNatsServer({ log: (message) => log.info(message) });
  if (binary.warning) log.warn(binary.warning);
  let current: EmbeddedServer | null = null;
  let writeErrorTimer: NodeJS.Timeout | undefined;
  const onWriteError = (message: string): void => {
    if (writeErrorTimer) return;
    log.error(`nats-server can't write (${message}): free some disk; it is started again in 10 s, and then goes on`);
    writeErrorTimer = setTimeout(() => {
      writeErrorTimer = undefined;
      void current?.stop();
    }, WRITE_ERROR_RESTART_MS);
  };
  const saidAt = new Map<string, number>();
  const warn = (message: string): void => {
    // A server whose neighbour is away says so every second, with the number of its tries.
    const kind = message.replace(/\(attempt \d+\)/, '').replace(/ - rid:\d+ - /, ' ');
    const now = performance.now();
    if (now - (saidAt.get(kind) ?? Number.NEGATIVE_INFINITY) < SAY_AGAIN_MS) return;
    if (saidAt.size >= KINDS_KEPT) saidAt.clear();
    saidAt.set(kind, now);
    // Of waiting for others a node says more itself.
    if (!message.includes('Waiting for routing to be established')) log.warn(message);
  };
  const start = (port: number, monitorPort?: number): Promise<EmbeddedServer> =>
    startEmbeddedServer({
      binary: binary.path,
      dataDir: options.dataDir,
      port,
      ...(monitorPort !== undefined && { monitorPort }),
      serverName: options.serverName,
      listen: options.listen,
      ...(options.cluster && { cluster: options.cluster }),
      log: warn,
      onWriteError,
    });
  let server = await start(options.port);
  current = server;
  log.info(`nats-server ${binary.version} (pid ${server.pid}) on ${server.url}, monitor ${server.monitorUrl}`);
  options.onStarted(server);

  const stopping = new AbortController();
  const keep = async (): Promise<void> => {
    let waitMs = 0;
    while (!stopping.signal.aborted) {
      const startedAt = performance.now();
      const exit = await server.exited;
      if (stopping.signal.aborted) return;
      log.error(`nats-server ended (${exit.signal ?? `code ${exit.code}`}) and is started again`);
      if (performance.now() - startedAt >= STEADY_MS) waitMs = 0;
      for (;;) {
        await delay(waitMs, undefined, { signal: stopping.signal }).catch(() => {});
        if (stopping.signal.aborted) return;
        waitMs = Math.min(RESTART_MAX_MS, Math.max(RESTART_MIN_MS, waitMs * 2));
        try {
          server = await start(server.port, server.monitorPort);
          current = server;
          break;
        } catch (error) {
          log.error(`nats-server could not be started again: ${(error as Error).message}`);
        }
      }
      log.info(`nats-server runs again (pid ${server.pid})`);
      options.onStarted(server);
    }
  };
  const kept = keep();
  return {
    get url() {
      return server.url;
    },
    get monitorUrl() {
      return server.monitorUrl;
    },
    get pid() {
      return server.pid;
    },
    async stop() {
      stopping.abort();
      clearTimeout(writeErrorTimer);
      await server.stop();
      await kept;
      // Where it was being started again just then, that one is the present one now.
      await server.stop();
    },
  };
}
