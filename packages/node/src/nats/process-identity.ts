import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** What tells one process from every other: a pid alone is used again by the system. */
export interface ProcessIdentity {
  readonly pid: number;
  /** When it started, in the system's own words; comparable only for equality, and only on this machine. */
  readonly startTime: string;
  readonly commandLine: string;
}

const PS_TIMEOUT_MS = 10_000;

function readOrUndefined(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    // ESRCH: it ended between opening and reading.
    if (code === 'ENOENT' || code === 'ESRCH') return undefined;
    throw error;
  }
}

/** From Linux's /proc. The boot's id goes in, since ticks and pids start again with each boot. */
function identityFromProc(pid: number): ProcessIdentity | undefined {
  const stat = readOrUndefined(`/proc/${pid}/stat`);
  const commandLine = readOrUndefined(`/proc/${pid}/cmdline`);
  if (stat === undefined || commandLine === undefined) return undefined;
  // The second field is the program's name in brackets and may hold anything, so count from its end: state is field 3.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  if (fields[0] === 'Z' || fields[0] === 'X') return undefined;
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  return { pid, startTime: `${boot} ${fields[22 - 3]}`, commandLine: commandLine.split('\0').join(' ').trim() };
}

/** From `ps`, on systems without /proc. */
export function identityFromPs(pid: number): ProcessIdentity | undefined {
  const ask = (column: string): string | undefined => {
    try {
      return execFileSync('ps', ['-ww', '-o', `${column}=`, '-p', String(pid)], {
        encoding: 'utf8',
        timeout: PS_TIMEOUT_MS,
        env: { ...process.env, LC_ALL: 'C', TZ: 'UTC' },
        stdio: ['ignore', 'pipe', 'ignore'],
      }).trim();
    } catch (error) {
      // ps ends with 1 where there is no such process.
      if ((error as { status?: unknown }).status === 1) return undefined;
      throw error;
    }
  };
  const state = ask('state');
  if (state === undefined || state.startsWith('Z')) return undefined;
  const startTime = ask('lstart');
  const commandLine = ask('args');
  if (startTime === undefined || commandLine === undefined) return undefined;
  return { pid, startTime, commandLine };
}

/**
 * The identity of a running process; `undefined` where there is none with this pid, or only its remains. Synchronous,
 * so that a parent can note a child in the same breath in which it starts it.
 */
export function processIdentity(pid: number): ProcessIdentity | undefined {
  return process.platform === 'linux' ? identityFromProc(pid) : identityFromPs(pid);
}

/** Whether this very process still runs: pid, start time and command line all agree. */
export function isStillRunning(identity: ProcessIdentity): boolean {
  const now = processIdentity(identity.pid);
  return now !== undefined && now.startTime === identity.startTime && now.commandLine === identity.commandLine;
}
