import { linkSync, mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isStillRunning, type ProcessIdentity, processIdentity } from '../nats/process-identity.js';
import { readIdentity } from './read-identity.js';

import { StartError } from './start-error.js';

/** Another node uses the data folder. */
export class DataFolderTakenError extends Error {
  override readonly name = 'DataFolderTakenError';

  constructor(
    readonly dataDir: string,
    readonly pid: number,
  ) {
    super(
      `data_dir is ${JSON.stringify(dataDir)}: the node with pid ${pid} uses it; ` +
        'stop that one first, or give this one a folder of its own with --data-dir',
    );
  }
}

/**
 * Takes the data folder for this process and returns the function that gives it back. `node.pid` holds who has it:
 * pid, start time and command line, so that the pid of a killed node, given to some other process, locks nothing.
 *
 * @throws DataFolderTakenError where a node that runs has it.
 */
export function lockDataFolder(dataDir: string): () => void {
  const path = join(dataDir, 'node.pid');
  const own = processIdentity(process.pid);
  if (!own) throw new Error(`this process (pid ${process.pid}) is not in the list of processes`);
  const mine = `${path}.${process.pid}`;
  try {
    mkdirSync(dataDir, { recursive: true });
    // A link appears whole or not at all, and fails where the name is taken: of two nodes only one succeeds.
    writeFileSync(mine, JSON.stringify(own));
  } catch (error) {
    throw new StartError(
      `data_dir is ${JSON.stringify(dataDir)}: it can't be written (${(error as Error).message}); ` +
        'name another folder with --data-dir, or let this user write there',
      { cause: error },
    );
  }
  try {
    while (!tryLink(mine, path)) removeStale(dataDir, path);
  } finally {
    rmSync(mine, { force: true });
  }
  return () => {
    if (readIdentity(path)?.pid === process.pid) rmSync(path, { force: true });
  };
}

function tryLink(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'EEXIST') return false;
    throw error;
  }
}

function refuseLive(dataDir: string, holder: ProcessIdentity | null): void {
  if (holder && isStillRunning(holder)) throw new DataFolderTakenError(dataDir, holder.pid);
}

/**
 * Another node may take the stale file's place between our look and our removal, so it is moved aside first and looked
 * at once more: a live one is put back.
 */
function removeStale(dataDir: string, path: string): void {
  refuseLive(dataDir, readIdentity(path));
  const aside = `${path}.stale.${process.pid}`;
  try {
    renameSync(path, aside);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  const moved = readIdentity(aside);
  if (moved && isStillRunning(moved)) tryLink(aside, path);
  rmSync(aside, { force: true });
  refuseLive(dataDir, moved);
}
