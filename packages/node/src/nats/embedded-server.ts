/**
 * The embedded nats-server: a child process of the node, its files in the data folder.
 *
 *   start ──▶ end the orphan that the pid file names ──▶ ports free? ──▶ spawn ──▶ pid file ──▶ ready
 *                                                                           │
 *                                                     ends before ready ────┴──▶ NatsServerError
 *
 * It listens on loopback only, unless it is told to listen elsewhere, and fsyncs every message before it acknowledges it (`sync_interval: always`). It is
 * started in a process group of its own, so that Ctrl-C in a terminal reaches the node alone, which drains first.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { rmSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join, resolve } from 'node:path';
import { createInterface } from 'node:readline';
import { embeddedServerFilePath, readEmbeddedServerFile, writeEmbeddedServerFile } from './embedded-server-file.js';
import { endProcess } from './end-process.js';
import { freePort } from './free-port.js';
import { NatsServerError } from './nats-server-error.js';
import { processIdentity } from './process-identity.js';
import { readServerSettings } from './server-settings.js';

const HOST = '127.0.0.1';
const ANY_HOST: ReadonlySet<string> = new Set(['0.0.0.0', '::']);
/** A server that stands still is left out of the cluster after three of these. */
const ROUTE_PING_S = 2;
const ROUTE_PINGS_OUT_MAX = 2;
const ROUTE_USER = 'spill';
const STOP_WAIT_MS = 5_000;
// Reading back the streams comes before ready, and a log may hold many gigabytes.
const START_WAIT_MS = 10 * 60_000;
const LINES_KEPT = 30;
const WRITE_ERROR = /critical write error|JetStream out of .*resources|disabling JetStream/i;

export interface EmbeddedServerOptions {
  /** The nats-server executable (`provideNatsServer`). */
  readonly binary: string;
  /** The node's data folder; JetStream's files go into `jetstream` in it. Made where it is missing. */
  readonly dataDir: string;
  /** The port for clients; 0 takes a free one (`freePort`), which a server that is started again gets back. */
  readonly port: number;
  /** Where it listens for clients and for the other servers; 127.0.0.1 by default. */
  readonly listen?: string;
  /** The servers that are one with it; alone by default. */
  readonly cluster?: ServerCluster;
  /** The port of the HTTP monitor on 127.0.0.1; any free one by default. */
  readonly monitorPort?: number;
  /** Unique in its cluster; `spill` by default. */
  readonly serverName?: string;
  /** The most that JetStream stores, in bytes; by default three quarters of the free disk and of what it holds. */
  readonly maxFileStoreBytes?: number;
  /** Told each warning and error that the server logs, and when an orphan was ended. */
  readonly log: (message: string) => void;
  /**
   * Told when the server can no longer write: the disk is full for real, or its files are not its own. From then on it
   * answers no publish any more (each times out) until it is started again, whatever is freed in the meantime.
   */
  readonly onWriteError?: (message: string) => void;
}

export interface ServerCluster {
  /** The same for all of them. */
  readonly name: string;
  readonly port: number;
  /** `host` or `host:port` of others; the port is the same as its own where absent. */
  readonly join: readonly string[];
  /** What they show each other, of letters, digits, _ and -; null: any server may join. */
  readonly secret: string | null;
}

export interface EmbeddedServer {
  /** `nats://<host>:<port>`, as this machine reaches it. */
  readonly url: string;
  /** `http://127.0.0.1:<port>` */
  readonly monitorUrl: string;
  readonly port: number;
  readonly monitorPort: number;
  readonly pid: number;
  /** Resolves when the process has ended, for whatever reason. */
  readonly exited: Promise<ServerExit>;
  /** SIGTERM, and SIGKILL where that does not end it within 5 s. Resolves when it has ended; may be called again. */
  stop(): Promise<void>;
}

export interface ServerExit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** The configuration file. Strings are quoted as JSON is, which nats-server reads. */
export function embeddedServerConfig(options: EmbeddedServerOptions): string {
  const port = (wanted: number | undefined) => (wanted ? wanted : -1); // -1: any free one
  const listen = options.listen ?? HOST;
  const maxFileStore =
    options.maxFileStoreBytes === undefined ? [] : [`  max_file_store: ${options.maxFileStoreBytes}`];
  return [
    '# Written by spill at each start; changes are lost.',
    `server_name: ${JSON.stringify(options.serverName ?? 'spill')}`,
    `host: ${JSON.stringify(listen)}`,
    `port: ${port(options.port)}`,
    `http: "${HOST}:${port(options.monitorPort)}"`,
    'max_payload: 8MB',
    'jetstream {',
    `  store_dir: ${JSON.stringify(join(resolve(options.dataDir), 'jetstream'))}`,
    '  # An acknowledged message is on disk. The default flushes every two minutes.',
    '  sync_interval: always',
    ...maxFileStore,
    '}',
    ...(options.cluster ? clusterConfig(options.cluster, listen) : []),
    '',
  ].join('\n');
}

function clusterConfig({ name, port, join: others, secret }: ServerCluster, listen: string): string[] {
  // A clustered JetStream refuses to start without a route; one to itself is recognised as that and passed over.
  const all = others.length > 0 ? others : [reachable(listen)];
  const login = secret === null ? '' : `${ROUTE_USER}:${secret}@`;
  const routes = all.map((host) => JSON.stringify(`nats://${login}${/:\d+$/.test(host) ? host : `${host}:${port}`}`));
  return [
    'cluster {',
    `  name: ${JSON.stringify(name)}`,
    `  host: ${JSON.stringify(listen)}`,
    `  port: ${port}`,
    `  routes: [${routes.join(', ')}]`,
    ...(secret === null
      ? []
      : [`  authorization { user: ${JSON.stringify(ROUTE_USER)}, password: ${JSON.stringify(secret)} }`]),
    '  # A server that stands still or is cut off keeps its connections: only unanswered pings show it.',
    `  ping_interval: "${ROUTE_PING_S}s"`,
    `  ping_max: ${ROUTE_PINGS_OUT_MAX}`,
    '}',
  ];
}

/** How this machine reaches what listens there. */
function reachable(listen: string): string {
  return ANY_HOST.has(listen) ? HOST : listen.includes(':') ? `[${listen}]` : listen;
}

function portTaken(port: number, cause?: unknown, flag = '--nats-port'): NatsServerError {
  return new NatsServerError(
    'NATS_PORT_TAKEN',
    `port ${port} is taken by another process; end that, or choose another with ${flag}`,
    port,
    { cause },
  );
}

/** Looked at before the server touches its store, though only the server's own bind decides. */
async function refuseTakenPort(port: number, listen: string, flag: string): Promise<void> {
  if (port === 0) return;
  const server = createServer();
  try {
    server.listen(port, listen);
    await once(server, 'listening');
    server.close();
    await once(server, 'close');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EADDRINUSE') throw portTaken(port, error, flag);
    throw error;
  }
}

async function endOrphan(options: EmbeddedServerOptions): Promise<void> {
  const orphan = readEmbeddedServerFile(options.dataDir);
  if (!orphan) return;
  if (await endProcess(orphan)) options.log(`ended the nats-server (pid ${orphan.pid}) of an earlier start`);
  rmSync(embeddedServerFilePath(options.dataDir), { force: true });
}

interface ReadyServer {
  readonly port: number;
  readonly monitorPort: number;
}

/**
 * Follows the server's log from its start: says what it warns of for as long as it runs, keeps its last lines, and
 * resolves `ready` at "Server is ready", which it writes after JetStream has read its streams and clients are let in.
 */
function followLog(
  child: ChildProcess,
  options: EmbeddedServerOptions,
): { ready: Promise<ReadyServer>; last: string[] } {
  const last: string[] = [];
  const ports = { port: 0, monitorPort: 0 };
  const lines = createInterface({ input: child.stderr! });
  const ready = new Promise<ReadyServer>((resolve) => {
    lines.on('line', (line) => {
      last.push(line);
      if (last.length > LINES_KEPT) last.shift();
      const complaint = /\[(?:WRN|ERR|FTL)\].*/.exec(line)?.[0];
      if (complaint) options.log(`nats-server: ${complaint}`);
      if (complaint && WRITE_ERROR.test(complaint)) options.onWriteError?.(complaint);
      const client = /Listening for client connections on \S+:(\d+)/.exec(line);
      if (client) ports.port = Number(client[1]);
      const monitor = /Starting http monitor on \S+:(\d+)/.exec(line);
      if (monitor) ports.monitorPort = Number(monitor[1]);
      if (line.includes('Server is ready')) resolve({ ...ports });
    });
  });
  return { ready, last };
}

/** Its own word that JetStream is on and fsyncs before it acknowledges: everything else rests on that. */
async function checkDurable(monitorUrl: string): Promise<void> {
  const settings = await readServerSettings(monitorUrl);
  if (settings.jetstream && settings.syncAlways) return;
  const what = settings.jetstream ? 'does not sync always' : 'runs without JetStream';
  throw new NatsServerError('NATS_SERVER_NOT_STARTED', `nats-server ${settings.version} ${what}`);
}

function exitOf(child: ChildProcess, binary: string, pidFile: string): Promise<ServerExit> {
  return new Promise((resolve, reject) => {
    // 'close' and not 'exit': only then its last lines have been read.
    child.once('close', (code, signal) => {
      rmSync(pidFile, { force: true });
      resolve({ code, signal });
    });
    child.once('error', (cause) => {
      const message = `${binary} can't be started: ${cause.message}`;
      reject(new NatsServerError('NATS_SERVER_NOT_STARTED', message, undefined, { cause }));
    });
  });
}

/** Resolves to `undefined` where the promise has not settled within the time. */
async function within<T>(promise: Promise<T>, waitMs: number): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), waitMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

function whyNotStarted(last: readonly string[], port: number, exit: ServerExit | undefined): NatsServerError {
  const fatal = last.findLast((line) => line.includes('[FTL]'));
  if (port !== 0 && fatal?.includes('Error listening on port')) {
    if (fatal.includes('address already in use')) return portTaken(port);
  }
  const how = exit ? `ended (${exit.signal ?? `code ${exit.code}`})` : `was not ready after ${START_WAIT_MS / 1000} s`;
  return new NatsServerError('NATS_SERVER_NOT_STARTED', `nats-server ${how} at its start:\n${last.join('\n')}`);
}

/**
 * Starts the embedded nats-server and resolves when clients can connect and JetStream is ready.
 *
 * An orphan, left by a node that was killed, is ended first: exactly the process that `nats-server.pid.json` names by
 * pid, start time and command line. Only one node may use a data folder at a time; that is for the caller to ensure.
 *
 * Throws `NatsServerError`: `NATS_PORT_TAKEN`, or `NATS_SERVER_NOT_STARTED` with the server's last lines.
 */
export async function startEmbeddedServer(given: EmbeddedServerOptions): Promise<EmbeddedServer> {
  const options = { ...given, port: given.port === 0 ? await freePort(given.listen) : given.port };
  const dataDir = resolve(options.dataDir);
  await mkdir(join(dataDir, 'jetstream'), { recursive: true });
  await endOrphan(options);
  const listen = options.listen ?? HOST;
  await refuseTakenPort(options.port, listen, '--nats-port');
  if (options.cluster) await refuseTakenPort(options.cluster.port, listen, '--cluster-port');
  const configFile = join(dataDir, 'nats-server.conf');
  // The file of an earlier start may be open to others, and this one may hold a secret.
  rmSync(configFile, { force: true });
  await writeFile(configFile, embeddedServerConfig(options), { mode: 0o600 });

  const child = spawn(options.binary, ['--config', configFile], {
    detached: true,
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  const exited = exitOf(child, options.binary, embeddedServerFilePath(dataDir));
  const { pid } = child;
  if (pid === undefined) return exited.then(() => Promise.reject(new Error('a process without a pid')));
  // Undefined where it has ended already; then there is nothing to note.
  const identity = processIdentity(pid);
  if (identity) {
    writeEmbeddedServerFile(dataDir, { ...identity, port: options.port, monitorPort: options.monitorPort ?? 0 });
  }

  const { ready, last } = followLog(child, options);
  const stop = async (): Promise<void> => {
    child.kill('SIGTERM');
    if ((await within(exited, STOP_WAIT_MS)) !== undefined) return;
    child.kill('SIGKILL');
    await exited;
  };
  const outcome = await within(Promise.race([ready, exited]), START_WAIT_MS);
  if (outcome === undefined || !('port' in outcome)) {
    await stop();
    throw whyNotStarted(last, options.port, outcome);
  }
  const url = `nats://${reachable(listen)}:${outcome.port}`;
  const monitorUrl = `http://${HOST}:${outcome.monitorPort}`;
  try {
    if (identity) writeEmbeddedServerFile(dataDir, { ...identity, ...outcome, url });
    await checkDurable(monitorUrl);
  } catch (error) {
    await stop();
    throw error;
  }
  return {
    url,
    monitorUrl,
    port: outcome.port,
    monitorPort: outcome.monitorPort,
    pid,
    exited,
    stop,
  };
}
