import { setTimeout as delay } from 'node:timers/promises';
import { isStillRunning, type ProcessIdentity } from './process-identity.js';

const TERM_WAIT_MS = 5_000;
const KILL_WAIT_MS = 10_000;
// Nothing tells a process about the end of one that is not its child, so it has to be looked at again and again.
const LOOK_AGAIN_MS = 20;

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ESRCH') throw error;
  }
}

async function hasEndedWithin(identity: ProcessIdentity, waitMs: number): Promise<boolean> {
  const end = performance.now() + waitMs;
  while (isStillRunning(identity)) {
    if (performance.now() > end) return false;
    await delay(LOOK_AGAIN_MS);
  }
  return true;
}

/**
 * Ends exactly this process, which need not be a child: SIGTERM, after 5 s SIGKILL. Returns false, having sent nothing,
 * where it no longer runs (its pid may be somebody else's by now). Throws where even SIGKILL does not end it.
 */
export async function endProcess(identity: ProcessIdentity): Promise<boolean> {
  if (!isStillRunning(identity)) return false;
  signal(identity.pid, 'SIGTERM');
  if (await hasEndedWithin(identity, TERM_WAIT_MS)) return true;
  if (isStillRunning(identity)) signal(identity.pid, 'SIGKILL');
  if (await hasEndedWithin(identity, KILL_WAIT_MS)) return true;
  throw new Error(`process ${identity.pid} (${identity.commandLine}) does not end, not even by SIGKILL`);
}
