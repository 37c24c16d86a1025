import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { endProcess } from '../../packages/node/dist/nats/end-process.js';
import { isStillRunning, processIdentity } from '../../packages/node/dist/nats/process-identity.js';
import { ChildRecords } from '../../packages/node/dist/process/child-records.js';

/** Who runs the quick start in a folder, and which node it started: so that a killed one leaves nothing behind. */
const RUN_FILE = 'quickstart.json';

/**
 * Empties the folder. What a killed quick start left running there is ended first.
 *
 * @throws Error where another quick start, or a node that somebody else started, uses it.
 */
export async function emptyFolder(folder) {
  const run = readJson(join(folder, RUN_FILE));
  if (run?.quickstart && isStillRunning(run.quickstart)) {
    throw new Error(`another quick start (pid ${run.quickstart.pid}) is running in ${folder}; let it end first`);
  }
  const node = readJson(join(folder, 'node.pid'));
  if (node && isStillRunning(node) && node.pid !== run?.node?.pid) {
    throw new Error(
      `a node (pid ${node.pid}) uses ${folder}; stop it first: the quick start begins with an empty folder`,
    );
  }
  await endLeftovers(folder);
  rmSync(folder, { recursive: true, force: true });
  mkdirSync(folder, { recursive: true });
  noteRun(folder, null);
}

/** Notes this process, and the node where it has started one. */
export function noteRun(folder, nodePid) {
  const run = { quickstart: processIdentity(process.pid), node: nodePid && processIdentity(nodePid) };
  writeFileSync(join(folder, RUN_FILE), JSON.stringify(run));
}

/** Ends the node of this folder, its processes and its nats-server, as far as they still run. */
export async function endLeftovers(folder) {
  if (!existsSync(folder)) return;
  for (const file of ['node.pid', 'nats-server.pid.json']) {
    const identity = readJson(join(folder, file));
    if (identity) await endProcess(identity);
  }
  await new ChildRecords(folder).endOrphans();
}

/** Processes of this folder that still run: none, after a clean stop. */
export function stillRunning(folder) {
  return ['node.pid', 'nats-server.pid.json']
    .map((file) => readJson(join(folder, file)))
    .filter((identity) => identity && isStillRunning(identity))
    .map(({ pid }) => pid);
}

function readJson(path) {
  return existsSync(path) ? JSON.parse(readFileSync(path, 'utf8')) : null;
}
