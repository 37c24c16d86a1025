import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chownSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import pg from 'pg';
import { freePort } from '../../packages/node/dist/nats/free-port.js';
import { postgresBinaries } from './postgres-binaries.js';

const run = promisify(execFile);

export interface TestPostgres {
  /** Of the database `postgres`. */
  readonly url: string;
  readonly port: number;
  readonly dataDir: string;
  /** Creates an empty database and returns its URL. */
  createDatabase(name: string): Promise<string>;
  /** Ends the server and removes its folder. */
  stop(): Promise<void>;
  /** SIGKILL, as a power cut would be for the processes; resolves when it is gone. */
  kill9(): Promise<void>;
  /** Starts it again on the same folder and port, after `kill9` or while it runs. */
  restart(): Promise<void>;
}

export interface TestPostgresOptions {
  /** Default on: durable as in production. */
  readonly fsync?: boolean;
  /** More `-c name=value`. */
  readonly settings?: Readonly<Record<string, string>>;
}

const USER = 'spill';

/** A throw-away PostgreSQL on a free port in a temporary folder, as an unprivileged user where the tests run as root. */
export async function startPostgres(options: TestPostgresOptions = {}): Promise<TestPostgres> {
  const folder = mkdtempSync(join(tmpdir(), 'spill-pg-'));
  const dataDir = join(folder, 'data');
  const owner = unprivilegedOwner();
  if (owner.uid !== undefined) chownSync(folder, owner.uid, owner.gid!);
  const bin = postgresBinaries();
  const env = { ...process.env, LC_ALL: 'C', TZ: 'UTC' };
  const spawnOptions = { ...owner, env, cwd: folder };
  await run(
    join(bin, 'initdb'),
    ['-D', dataDir, '-U', USER, '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-sync'],
    spawnOptions,
  );
  const port = await freePort();
  const settings = {
    listen_addresses: '127.0.0.1',
    port: String(port),
    unix_socket_directories: '',
    fsync: options.fsync === false ? 'off' : 'on',
    max_connections: '100',
    shared_buffers: '128MB',
    logging_collector: 'off',
    ...options.settings,
  };
  const args = ['-D', dataDir, ...Object.entries(settings).flatMap(([name, value]) => ['-c', `${name}=${value}`])];

  let server = await launch(join(bin, 'postgres'), args, spawnOptions);
  const urlOf = (database: string) => `postgres://${USER}@127.0.0.1:${port}/${database}`;
  // SIGQUIT: it takes its children with it, also where the tests end without stopping it.
  const onExit = () => server.kill('SIGQUIT');
  process.once('exit', onExit);

  const end = async (signal: NodeJS.Signals) => {
    if (server.exitCode !== null || server.signalCode !== null) return;
    const exited = once(server, 'exit');
    server.kill(signal);
    await exited;
  };

  return {
    url: urlOf('postgres'),
    port,
    dataDir,
    async createDatabase(name) {
      const client = new pg.Client(urlOf('postgres'));
      await client.connect();
      try {
        await client.query(`CREATE DATABASE "${name}"`);
      } finally {
        await client.end();
      }
      return urlOf(name);
    },
    async stop() {
      await end('SIGINT');
      process.removeListener('exit', onExit);
      rmSync(folder, { recursive: true, force: true });
    },
    kill9: () => end('SIGKILL'),
    async restart() {
      await end('SIGINT');
      server = await launch(join(bin, 'postgres'), args, spawnOptions);
    },
  };
}

interface SpawnOptions {
  readonly uid?: number;
  readonly gid?: number;
  readonly env: NodeJS.ProcessEnv;
  readonly cwd: string;
}

/**
 * Starts the server and waits for its word that it is ready. After SIGKILL the old server's children may live on for a
 * moment and hold its shared memory: then it is started again.
 */
async function launch(program: string, args: readonly string[], options: SpawnOptions): Promise<ChildProcess> {
  for (let attempt = 1; ; attempt += 1) {
    const server = spawn(program, args, { ...options, stdio: ['ignore', 'ignore', 'pipe'] });
    let log = '';
    const ready = await new Promise<boolean>((resolve, reject) => {
      server.once('error', reject);
      server.once('exit', () => resolve(false));
      server.stderr!.setEncoding('utf8').on('data', (text: string) => {
        log = (log + text).slice(-10_000);
        if (log.includes('ready to accept connections')) resolve(true);
      });
    });
    if (ready) return server;
    if (attempt === 50 || !/still in use|is running in data directory/.test(log)) {
      throw new Error(`PostgreSQL did not start:\n${log}`);
    }
    await delay(100);
  }
}

/** PostgreSQL refuses to run as root: then as `postgres` or `nobody`. */
function unprivilegedOwner(): { uid?: number; gid?: number } {
  if (process.getuid?.() !== 0) return {};
  const users = readFileSync('/etc/passwd', 'utf8').split('\n');
  for (const name of ['postgres', 'nobody']) {
    const fields = users.find((line) => line.startsWith(`${name}:`))?.split(':');
    if (fields !== undefined) return { uid: Number(fields[2]), gid: Number(fields[3]) };
  }
  throw new Error('the tests run as root, and there is no user `postgres` or `nobody` to run PostgreSQL as');
}
