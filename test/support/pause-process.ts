import { execFileSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { until } from './fault.js';

/** SIGSTOP, and resolves when it has taken hold: the signal is only sent when `kill` returns. */
export async function pauseProcess(pid: number): Promise<void> {
  process.kill(pid, 'SIGSTOP');
  await until(`process ${pid} to stop`, () => isPaused(pid));
}

/** Whether every thread of it has stopped; where the system does not tell of threads, the process. */
function isPaused(pid: number): boolean {
  if (process.platform !== 'linux')
    return execFileSync('ps', ['-o', 'stat=', '-p', String(pid)])
      .toString()
      .includes('T');
  return readdirSync(`/proc/${pid}/task`).every((thread) => {
    const stat = readFileSync(`/proc/${pid}/task/${thread}/stat`, 'utf8');
    // The name before the state stands in brackets and may hold anything.
    return stat.slice(stat.lastIndexOf(')') + 2)[0] === 'T';
  });
}
