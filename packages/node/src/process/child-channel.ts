import { type ChildToNode, ExitCode, type LogLevel, type NodeToChild, type StartMessage } from './messages.js';

/** A child's end of the channel to its node. */
export interface ChildChannel<Start extends StartMessage = StartMessage> {
  readonly start: Start;
  send(message: ChildToNode): void;
  log(level: LogLevel, message: string): void;
  /** At most once. The process is to stop taking, finish what is in flight, `finish('drained')`. */
  onDrain(drain: () => void): void;
  /**
   * Ends the process once what was sent before has left it. With `drained` the node is told so first; the other codes
   * say themselves why.
   */
  finish(code: keyof typeof ExitCode): Promise<never>;
}

/**
 * Takes up the channel that the node opened when it forked this process, and waits for its `start`. From here on the
 * process exits as soon as the channel closes: without its node it must not go on (no orphans).
 *
 * @throws Error where the process was not started by a node, or for another role than `role`.
 */
export async function openChildChannel<Role extends StartMessage['role']>(
  role: Role,
): Promise<ChildChannel<Extract<StartMessage, { role: Role }>>> {
  if (!process.send) throw new Error(`this is a process of spill-node, for ${role}; run "spill-node start" instead`);
  process.on('disconnect', () => process.exit(ExitCode.orphaned));
  // The node drains its children itself; Ctrl-C in a terminal reaches the whole group.
  process.on('SIGINT', () => {});
  process.on('SIGTERM', () => {});

  let drain: (() => void) | null = null;
  let drainAsked = false;
  const start = await new Promise<StartMessage>((resolve) => {
    process.on('message', (message: NodeToChild) => {
      if (message.type === 'start') resolve(message);
      else if (!drainAsked) {
        drainAsked = true;
        drain?.();
      }
    });
  });
  if (start.role !== role) throw new Error(`started as ${start.role}, but this is the process of a ${role}`);

  const send = (message: ChildToNode): void => {
    // False means only that the channel's buffer is full; a closed channel ends the process anyway.
    if (process.connected) process.send!(message);
  };
  return {
    start: start as Extract<StartMessage, { role: Role }>,
    send,
    log: (level, message) => send({ type: 'log', level, message }),
    onDrain(callback) {
      drain = callback;
      if (drainAsked) callback();
    },
    async finish(code) {
      if (code === 'drained') send({ type: 'drained' });
      await new Promise<void>((resolve) => {
        if (!process.connected) return resolve();
        // Messages leave in order, so this one's callback comes after all others have been written.
        const last: ChildToNode = { type: 'log', level: 'debug', message: `exits (${code})` };
        process.send!(last, undefined, undefined, () => resolve());
      });
      return process.exit(ExitCode[code]);
    },
  };
}
