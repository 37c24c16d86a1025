import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import {
  isStillRunning,
  type ProcessIdentity,
  processIdentity,
} from '../../packages/node/dist/nats/process-identity.js';
import { readIdentity } from '../../packages/node/dist/process/read-identity.js';

export const SPILL_NODE = fileURLToPath(new URL('../../packages/node/dist/process/main.js', import.meta.url));

export interface StartNode {
  /** A temporary folder, removed by `dispose`, where absent. */
  readonly dataDir?: string;
  /** PGlite where absent. */
  readonly databaseUrl?: string;
  readonly shards?: number;
  /** Further flags of `spill-node start`. */
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** What runs it, such as `ip netns exec some-namespace`. */
  readonly within?: readonly string[];
  /** How long to wait for the ready line. */
  readonly readyMs?: number;
}

export interface TestNode {
  readonly dataDir: string;
  readonly natsUrl: string;
  readonly pid: number;
  /** SIGTERM; resolves to the exit code, null where a signal ended it. */
  stop(): Promise<number | null>;
  /** SIGKILL of the node alone. Its nats-server goes on, as after a real crash. */
  kill9(): Promise<void>;
  /** Starts it again on the same folder and port, with the same flags, and waits until it is ready. */
  restart(): Promise<void>;
  /** Everything that it has written to standard error, over all starts. */
  stderr(): string;
  /** Everything that it has written to standard output. */
  stdout(): string;
  /** `router`, `shard-1`, …: the processes that run at the moment. */
  childPids(): Readonly<Record<string, number>>;
  natsServerPid(): number;
  /** Ends whatever is left of it, and removes its temporary folder. */
  dispose(): Promise<void>;
}

/** By data folder: what is left of each is ended when the tests' own process ends, whatever the reason. */
const running = new Map<string, () => ChildProcess>();
process.once('exit', () => {
  for (const [dataDir, child] of running) {
    child().kill('SIGKILL');
    for (const identity of leftovers(dataDir)) endIfStill(identity);
  }
});

const READY = /^spill-node ready (\S+)/m;

/** The environment without what would change a node's settings. */
export function cleanEnv(extra: Readonly<Record<string, string>> = {}): NodeJS.ProcessEnv {
  const kept = Object.entries(process.env).filter(
    ([name]) => name === 'SPILL_NATS_SERVER' || !/^(SPILL|NATS)_/.test(name),
  );
  return { ...Object.fromEntries(kept), ...extra };
}

/** Runs `spill-node` and resolves with its end: for starts that are to be refused. */
export async function runNode(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<{ code: number | null; stdout: string; stderr: string }> {
  const child = spawn(process.execPath, [SPILL_NODE, ...args], {
    env: cleanEnv(env),
    stdio: ['ignore', 'pipe', 'pipe'],
    // A start that is not refused, against what the test says, would go on for ever.
    timeout: 120_000,
  });
  let stdout = '';
  let stderr = '';
  child.stdout.on('data', (chunk) => {
    stdout += chunk;
  });
  child.stderr.on('data', (chunk) => {
    stderr += chunk;
  });
  const [code] = await once(child, 'close');
  return { code, stdout, stderr };
}

/**
 * Starts a real node from the build, with an embedded nats-server on a free port, and waits until it is ready.
 *
 * @throws Error with what it wrote where it ends before that.
 */
export async function startNode(options: StartNode = {}): Promise<TestNode> {
  const dataDir = options.dataDir ?? mkdtempSync(join(tmpdir(), 'spill-node-'));
  const external = options.args?.includes('--nats') ?? false;
  let child: ChildProcess;
  let natsUrl = '';
  let stdout = '';
  let stderr = '';

  const start = async (port: string): Promise<void> => {
    const [program, ...args] = [
      ...(options.within ?? []),
      process.execPath,
      SPILL_NODE,
      'start',
      '--data-dir',
      dataDir,
    ];
    if (!external) args.push('--nats-port', port);
    if (options.databaseUrl) args.push('--database-url', options.databaseUrl);
    if (options.shards !== undefined) args.push('--shards', String(options.shards));
    args.push(...(options.args ?? []));
    let ownStdout = '';
    let ownStderr = '';
    const started = spawn(program as string, args, { env: cleanEnv(options.env), stdio: ['ignore', 'pipe', 'pipe'] });
    child = started;
    started.stderr.on('data', (chunk: Buffer) => {
      ownStderr += chunk;
      stderr += chunk;
    });
    const readyMs = options.readyMs ?? 90_000;
    await new Promise<void>((resolve, reject) => {
      const fail = (why: string): void => reject(new Error(`spill-node ${why}:\n${ownStdout}${ownStderr}`));
      const timer = setTimeout(() => fail(`was not ready within ${readyMs / 1_000} s`), readyMs);
      createInterface({ input: started.stdout }).on('line', (line) => {
        ownStdout += `${line}\n`;
        stdout += `${line}\n`;
        const url = READY.exec(line)?.[1];
        if (!url) return;
        natsUrl = url;
        clearTimeout(timer);
        resolve();
      });
      started.once('close', (code, signal) => {
        clearTimeout(timer);
        fail(`ended before it was ready (${signal ?? `code ${code}`})`);
      });
    });
  };
  const ended = async (): Promise<number | null> => {
    if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
    return child.exitCode;
  };
  running.set(dataDir, () => child);
  try {
    await start('0');
  } catch (error) {
    child!.kill('SIGKILL');
    for (const identity of leftovers(dataDir)) endIfStill(identity);
    running.delete(dataDir);
    if (!options.dataDir) rmSync(dataDir, { recursive: true, force: true });
    throw error;
  }

  return {
    dataDir,
    get natsUrl() {
      return natsUrl;
    },
    get pid() {
      return child.pid as number;
    },
    stop: () => {
      child.kill('SIGTERM');
      return ended();
    },
    kill9: async () => {
      child.kill('SIGKILL');
      await ended();
    },
    restart: () => start(new URL(natsUrl).port),
    stderr: () => stderr,
    stdout: () => stdout,
    childPids: () => childPids(dataDir),
    natsServerPid: () => readIdentity(join(dataDir, 'nats-server.pid.json'))?.pid ?? 0,
    dispose: async () => {
      child.kill('SIGKILL');
      await ended();
      for (const identity of leftovers(dataDir)) endIfStill(identity);
      running.delete(dataDir);
      if (!options.dataDir) rmSync(dataDir, { recursive: true, force: true, maxRetries: 10 });
    },
  };
}

function childRecords(dataDir: string): ProcessIdentity[] {
  const folder = join(dataDir, 'children');
  if (!existsSync(folder)) return [];
  return readdirSync(folder)
    .filter((file) => file.endsWith('.json'))
    .map((file) => readIdentity(join(folder, file)))
    .filter((identity) => identity !== null);
}

function childPids(dataDir: string): Record<string, number> {
  // The record of one that was seen in the middle of its exec has no command line yet.
  const named = ({ pid, commandLine }: ProcessIdentity): [string, number] => {
    const words = (commandLine || processIdentity(pid)?.commandLine || '').split(' ');
    return [words.at(-1) as string, pid];
  };
  return Object.fromEntries(childRecords(dataDir).map(named));
}

function leftovers(dataDir: string): ProcessIdentity[] {
  const server = readIdentity(join(dataDir, 'nats-server.pid.json'));
  return server ? [...childRecords(dataDir), server] : childRecords(dataDir);
}

/** Its pid may be somebody else's by now. */
function endIfStill(identity: ProcessIdentity): void {
  if (!isStillRunning(identity)) return;
  try {
    process.kill(identity.pid, 'SIGKILL');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}
