import { mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { isStillRunning, type ProcessIdentity, processIdentity } from '../nats/process-identity.js';
import { readIdentity } from './read-identity.js';

/**
 * One file a child in the data folder, `children/<pid>.json`: which processes a node has started, so that the next
 * start can end exactly those that a killed node left behind (a stopped one can't notice that its node is gone).
 */
export class ChildRecords {
  private readonly folder: string;

  constructor(dataDir: string) {
    this.folder = join(dataDir, 'children');
    mkdirSync(this.folder, { recursive: true });
  }

  /** Synchronous, so that no other code runs between the fork and its note. */
  add(pid: number): void {
    const identity = processIdentity(pid);
    if (!identity) return; // It has ended already.
    const path = this.path(pid);
    writeFileSync(`${path}.new`, JSON.stringify(identity));
    renameSync(`${path}.new`, path);
  }

  remove(pid: number): void {
    rmSync(this.path(pid), { force: true });
  }

  /**
   * Ends what an earlier node left running, by SIGKILL: it is fenced anyway, and may be stopped. Resolves to their
   * pids when they are gone.
   */
  async endOrphans(): Promise<number[]> {
    const ended: number[] = [];
    for (const file of readdirSync(this.folder)) {
      const path = join(this.folder, file);
      const identity = readIdentity(path);
      if (identity && isStillRunning(identity)) {
        process.kill(identity.pid, 'SIGKILL');
        await gone(identity);
        ended.push(identity.pid);
      }
      rmSync(path, { force: true });
    }
    return ended;
  }

  private path(pid: number): string {
    return join(this.folder, `${pid}.json`);
  }
}

const LOOK_AGAIN_MS = 20;
const GONE_WAIT_MS = 10_000;

/** Nothing tells a process about the end of one that is not its child, so it is looked at again and again. */
async function gone(identity: ProcessIdentity): Promise<void> {
  const end = performance.now() + GONE_WAIT_MS;
  while (isStillRunning(identity)) {
    if (performance.now() > end) {
      throw new Error(`process ${identity.pid} (${identity.commandLine}) does not end; end it by hand and start again`);
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS));
  }
}
