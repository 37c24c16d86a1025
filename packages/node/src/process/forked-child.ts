import { type ChildProcess, fork } from 'node:child_process';
import { createInterface } from 'node:readline';
import type { ChildRecords } from './child-records.js';
import type { ChildToNode, NodeToChild, StartMessage } from './messages.js';
import type { NodeLog } from './node-log.js';

export interface ForkedChildOptions {
  /** Built JavaScript. */
  readonly script: URL;
  /** As it appears in the log: `shard 3`. */
  readonly label: string;
  readonly start: StartMessage;
  readonly records: ChildRecords;
  readonly log: NodeLog;
  onMessage(message: ChildToNode): void;
  /** Called once. `reason`: a sentence part, such as "ended with code 1". */
  onExit(exit: { readonly code: number | null; readonly reason: string }): void;
}

/** A process with a channel to this one. It is noted in the data folder for as long as it runs. */
export class ForkedChild {
  /** undefined: it could not be started; `onExit` says why. */
  readonly pid: number | undefined;
  private readonly process: ChildProcess;
  private over = false;

  constructor(options: ForkedChildOptions) {
    const child = fork(options.script, [options.label.replace(' ', '-')], {
      serialization: 'advanced',
      // A debugger of the node's own would take the same port again.
      execArgv: process.execArgv.filter((flag) => !flag.startsWith('--inspect')),
      stdio: ['ignore', 'pipe', 'pipe', 'ipc'],
      // A group of its own: Ctrl-C in a terminal reaches the node alone, which drains first.
      detached: true,
    });
    this.process = child;
    this.pid = child.pid;
    if (child.pid !== undefined) options.records.add(child.pid);

    const finish = (code: number | null, reason: string): void => {
      if (this.over) return;
      this.over = true;
      if (child.pid !== undefined) options.records.remove(child.pid);
      options.onExit({ code, reason });
    };
    child.once('exit', (code, signal) => finish(code, signal ? `was ended by ${signal}` : `ended with code ${code}`));
    child.on('error', (error) => {
      // Also emitted for a message that could not be sent, after which 'exit' still comes.
      options.log.debug(`${options.label}: ${error.message}`);
      if (child.pid === undefined) finish(null, error.message);
    });
    child.on('message', (message) => options.onMessage(message as ChildToNode));
    for (const stream of [child.stdout!, child.stderr!]) {
      createInterface({ input: stream }).on('line', (line) => options.log.warn(`${options.label}: ${line}`));
    }
    this.send(options.start);
  }

  send(message: NodeToChild): void {
    if (this.process.connected) this.process.send(message, undefined, undefined, () => {});
  }

  /** SIGKILL: works on a stopped process too. */
  end(): void {
    if (!this.over) this.process.kill('SIGKILL');
  }
}
