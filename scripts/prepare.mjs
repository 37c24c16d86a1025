// Makes a clone ready to run: dependencies as the lock file has them, a build of what has changed, a nats-server.
// Quiet where there is nothing to do. Node's own modules only, since it runs before there are any others.
import { spawn } from 'node:child_process';
import { chmodSync, existsSync, lstatSync, mkdirSync, readFileSync, symlinkSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { provideNatsServer } from './provide-nats-server.mjs';

const ROOT = fileURLToPath(new URL('..', import.meta.url));
const PACKAGES = ['core', 'node', 'cli'];

/**
 * @param {{ log?: (message: string) => void, env?: NodeJS.ProcessEnv, signal?: AbortSignal }} [options]
 *   `log`: told what takes a while; `env`: whose `SPILL_NATS_SERVER` and PATH count; `signal`: ends what runs
 * @returns {Promise<{ path: string, version: string, source: string, warning?: string }>} the nats-server
 */
export async function prepare({ log = console.error, env = process.env, signal } = {}) {
  const run = (command, args, more = {}) => runQuietly(command, args, { log, signal, env: more });
  if (!isInstalled()) {
    log('installing dependencies (npm ci) ...');
    await run('npm', ['ci', '--no-fund', '--no-audit']);
  }
  if (!PACKAGES.every((name) => existsSync(join(ROOT, 'packages', name, 'dist')))) log('building ...');
  const turbo = join(ROOT, 'node_modules', '.bin', 'turbo');
  await run(turbo, ['run', 'build', '--output-logs=errors-only'], { TURBO_TELEMETRY_DISABLED: '1' });
  for (const name of PACKAGES) linkCommands(join(ROOT, 'packages', name));
  return provideNatsServer({ log, env });
}

/** Whether node_modules holds what the lock file asks for; what it leaves out for this platform is not missed. */
function isInstalled() {
  const hidden = join(ROOT, 'node_modules', '.package-lock.json');
  if (!existsSync(hidden)) return false;
  const wanted = readLock(join(ROOT, 'package-lock.json'));
  const there = readLock(hidden);
  return Object.entries(wanted).every(([path, entry]) => {
    if (path === '') return true;
    const found = there[path];
    if (!found) return entry.optional === true;
    return found.version === entry.version && found.integrity === entry.integrity;
  });
}

function readLock(path) {
  return JSON.parse(readFileSync(path, 'utf8')).packages;
}

/** npm links a command only where its file is there when it installs, and ours are built after that. */
function linkCommands(folder) {
  const { bin = {} } = JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8'));
  for (const [name, file] of Object.entries(bin)) {
    const target = join(folder, file);
    if (!existsSync(target)) continue;
    chmodSync(target, 0o755);
    const link = join(ROOT, 'node_modules', '.bin', name);
    if (lstatSync(link, { throwIfNoEntry: false })) continue;
    mkdirSync(dirname(link), { recursive: true });
    symlinkSync(relative(dirname(link), target), link);
  }
}

/** Runs a program and shows what it wrote only where it fails. */
async function runQuietly(command, args, { log, signal, env }) {
  const child = spawn(command, args, {
    cwd: ROOT,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
    signal,
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (text) => {
      output += text;
    });
  }
  const [code, endedBy] = await new Promise((resolve, reject) => {
    child.once('error', (error) => reject(new Error(`${command} can't go on: ${error.message}`, { cause: error })));
    child.once('close', (...end) => resolve(end));
  });
  if (code === 0) return;
  log(output.trimEnd());
  throw new Error(`${[command, ...args].join(' ')} failed (${endedBy ?? `code ${code}`})`);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    const { warning } = await prepare();
    if (warning) console.error(`warning: ${warning}`);
  } catch (error) {
    console.error(error.message);
    process.exitCode = 1;
  }
}
