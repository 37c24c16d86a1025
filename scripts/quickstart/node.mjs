import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { endLeftovers, noteRun, stillRunning } from './folder.mjs';

const SPILL_NODE = fileURLToPath(new URL('../../packages/node/dist/process/main.js', import.meta.url));
const READY = /^spill-node ready (\S+)/m;
const READY_WAIT_MS = 120_000;
const STOP_WAIT_MS = 30_000;

/**
 * Starts `spill-node` in a folder, with everything embedded, and waits until it takes transactions.
 *
 * @param {{ folder: string, args: readonly string[], natsServer: string, signal: AbortSignal }} options
 * @returns {Promise<{ url: string, pid: number, stop: () => Promise<boolean> }>} `stop` resolves to whether everything
 *   stopped by itself
 */
export async function startNode({ folder, args, natsServer, signal }) {
  const output = join(folder, 'node-output.log');
  const child = spawn(process.execPath, [SPILL_NODE, 'start', '--data-dir', folder, '--nats-port', '0', ...args], {
    // In a process group of its own, so that Ctrl-C comes here only, and it is stopped in order.
    detached: true,
    env: environment(natsServer),
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const log = createWriteStream(output);
  child.stderr.pipe(log, { end: false });
  child.stdout.pipe(log, { end: false });
  const ended = once(child, 'exit');
  const stop = () => stopNode(child, ended, folder);
  try {
    await once(child, 'spawn');
    noteRun(folder, child.pid);
    const url = await readyUrl(child, ended, output, signal);
    return { url, pid: child.pid, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Nothing of the caller's settings, whatever cluster they work with otherwise. */
function environment(natsServer) {
  const kept = Object.entries(process.env).filter(([name]) => !/^(NATS|SPILL)_/i.test(name));
  return { ...Object.fromEntries(kept), SPILL_NATS_SERVER: natsServer };
}

function readyUrl(child, ended, output, signal) {
  return new Promise((resolve, reject) => {
    const fail = (why) => reject(new Error(`the node ${why}:\n${readFileSync(output, 'utf8').trimEnd()}`));
    const timer = setTimeout(() => fail(`was not ready within ${READY_WAIT_MS / 1_000} s`), READY_WAIT_MS);
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
    let text = '';
    child.stdout.on('data', (chunk) => {
      text += chunk;
      const url = READY.exec(text)?.[1];
      if (url) resolve(url);
      if (url) clearTimeout(timer);
    });
    ended.then(([code, name]) => {
      clearTimeout(timer);
      fail(`ended before it was ready (${name ?? `code ${code}`})`);
    }, reject);
  });
}

async function stopNode(child, ended, folder) {
  if (child.exitCode === null && child.signalCode === null) child.kill('SIGTERM');
  let timer;
  const late = new Promise((resolve) => {
    timer = setTimeout(() => resolve(null), STOP_WAIT_MS);
  });
  const end = await Promise.race([ended, late]);
  clearTimeout(timer);
  const clean = end?.[0] === 0 && stillRunning(folder).length === 0;
  if (!clean) await endLeftovers(folder);
  return clean;
}
