import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** What tells one process from every other: a pid alone is used again by the system. */
export interface ProcessIdentity {
  readonly pid: number;
  /** When it started, in the system's own words; comparable only for equality, and only on this machine. */
  readonly startTime: string;
  /** Empty where it was seen in the middle of its exec: a parent may look before the system has filled it in. */
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

/**
 * From Linux's /proc. The boot's id goes in, since ticks and pids start again with each boot. A process whose first
 * thread has ended is not gone before its other threads are: until then it holds its files and sockets, though it has no
 * command line any more, which is then `undefined` here.
 */
function lookInProc(pid: number): { startTime: string; commandLine: string | undefined } | undefined {
  const stat = readOrUndefined(`/proc/${pid}/stat`);
  const commandLine = readOrUndefined(`/proc/${pid}/cmdline`);
  if (stat === undefined || commandLine === undefined) return undefined;
  // The second field is the program's name in brackets and may hold anything, so count from its end: state is field 3.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const [state, threads, startTicks] = [fields[3 - 3]!, Number(fields[20 - 3]), fields[22 - 3]!];
  const ending = state === 'Z' || state === 'X';
  if (ending && threads <= 1) return undefined;
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  const words = commandLine.split('\0').join(' ').trim();
  return { startTime: `${boot} ${startTicks}`, commandLine: ending ? undefined : words };
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
  if (process.platform !== 'linux') return identityFromPs(pid);
  const seen = lookInProc(pid);
  if (seen?.commandLine === undefined) return undefined;
  return { pid, startTime: seen.startTime, commandLine: seen.commandLine };
}

/**
 * Whether this very process still runs, or still holds its sockets: pid and start time agree, and so does the command
 * line where both are known.
 */
export function isStillRunning(identity: ProcessIdentity): boolean {
  const { pid } = identity;
  const now = process.platform === 'linux' ? lookInProc(pid) : identityFromPs(pid);
  if (now === undefined || now.startTime !== identity.startTime) return false;
  return !now.commandLine || !identity.commandLine || now.commandLine === identity.commandLine;
}
