import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';

/** @throws Error that says how to get it. */
export function requireStrace(): void {
  const { error } = spawnSync('strace', ['--version']);
  if (!error) return;
  throw new Error(
    'this test needs strace: `apt-get install strace` (or as your system does it); SPILL_SKIP_STRACE=1 leaves the test out',
  );
}

/** Follows every thread of a process into `file`. Resolves once it is attached, with the function that ends it. */
export async function trace(pid: number, file: string): Promise<() => Promise<void>> {
  const calls = 'trace=fsync,fdatasync,write,pwrite64,writev,sendto';
  const args = ['-f', '-p', String(pid), '-o', file, '-e', calls, '-y', '-s', '1024'];
  const strace: ChildProcess = spawn('strace', args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const exit = once(strace, 'exit');
  await new Promise<void>((resolve, reject) => {
    let said = '';
    strace.stderr!.setEncoding('utf8').on('data', (text: string) => {
      said += text;
      if (said.includes('attached')) resolve();
    });
    void exit.then(() => reject(new Error(`strace ended: ${said}`)));
  });
  return async () => {
    strace.kill('SIGINT');
    await exit;
  };
}

interface Call {
  readonly name: string;
  /** What the first argument is open on. */
  readonly on: string;
  readonly text: string;
  /** Lines of the trace. */
  readonly began: number;
  ended: number;
}

/** Calls by the order of their beginning. One that waited stands on two lines: `<unfinished ...>` and `resumed`. */
function readCalls(trace: string): Call[] {
  const calls: Call[] = [];
  const waiting = new Map<string, Call>();
  trace.split('\n').forEach((line, number) => {
    const resumed = /^(\d+)\s+<\.\.\. \w+ resumed>/.exec(line);
    if (resumed) {
      const call = waiting.get(resumed[1] as string);
      if (call) call.ended = number;
      return;
    }
    const began = /^(\d+)\s+(\w+)\(\d+<([^>]*)>(.*)$/.exec(line);
    if (!began) return;
    const [, thread, name, on, text] = began as unknown as [string, string, string, string, string];
    const unfinished = text.endsWith('<unfinished ...>');
    const call: Call = { name, on, text, began: number, ended: unfinished ? Number.POSITIVE_INFINITY : number };
    if (unfinished) waiting.set(thread, call);
    calls.push(call);
  });
  return calls;
}

export interface Durability {
  /** Acknowledgements of records whose write is in the trace. */
  readonly acknowledged: number;
  /** Those among them without a sync of the same file between the write's end and the acknowledgement's beginning. */
  readonly tooEarly: readonly string[];
}

/** Whether each record in a trace of nats-server was synced before its acknowledgement went out. */
export function judgeDurability(trace: string): Durability {
  const calls = readCalls(trace);
  const writes = new Map<string, Call>();
  const syncs = new Map<string, Call[]>();
  let acknowledged = 0;
  const tooEarly: string[] = [];
  for (const call of calls) {
    const stream = /\/streams\/(SPILL_\d+)\/msgs\/\d+\.blk$/.exec(call.on)?.[1];
    if (stream && (call.name === 'fsync' || call.name === 'fdatasync')) {
      const list = syncs.get(call.on) ?? [];
      list.push(call);
      syncs.set(call.on, list);
    } else if (stream) {
      // Fenced: the header names the sequence before the record's own.
      for (const [, last] of call.text.matchAll(/Nats-Expected-Last-Sequence: (\d+)/g)) {
        writes.set(`${stream} ${Number(last) + 1}`, call);
      }
    }
  }
  for (const call of calls) {
    if (!call.on.startsWith('socket:')) continue;
    for (const [, stream, sequence] of call.text.matchAll(/\{\\"stream\\":\\"(SPILL_\d+)\\",\s*\\"seq\\":(\d+)/g)) {
      const write = writes.get(`${stream} ${sequence}`);
      // Written before the trace began.
      if (!write) continue;
      acknowledged += 1;
      const synced = syncs.get(write.on)?.some((sync) => sync.began > write.ended && sync.ended < call.began);
      if (!synced) tooEarly.push(`${stream} ${sequence}`);
    }
  }
  return { acknowledged, tooEarly };
}
