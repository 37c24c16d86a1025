import { appendFileSync, renameSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { LogLevel } from './messages.js';

export interface NodeLog {
  debug(message: string): void;
  info(message: string): void;
  warn(message: string): void;
  error(message: string): void;
  at(level: LogLevel, message: string): void;
}

export interface NodeLogOptions {
  /** The log also goes to `spill-node.log` in it. */
  readonly dataDir: string;
  readonly json: boolean;
  /** Where people look; standard output is for the ready line alone. */
  readonly stderr: { write(text: string): unknown };
}

/** Two files of this size at most: the present one and the one before. */
const FILE_BYTES_MAX = 16 * 2 ** 20;

/** The node's log: to standard error and to a file that is kept small. `debug` goes to the file alone. */
export function openNodeLog(options: NodeLogOptions): NodeLog {
  const path = join(options.dataDir, 'spill-node.log');
  let bytes = sizeOf(path);
  const at = (level: LogLevel, message: string): void => {
    const time = new Date().toISOString();
    const line = options.json
      ? `${JSON.stringify({ time, level, message })}\n`
      : `${time} ${level.padEnd(5)} ${message}\n`;
    if (level !== 'debug') options.stderr.write(line);
    if (bytes > FILE_BYTES_MAX) {
      renameSync(path, `${path}.1`);
      bytes = 0;
    }
    appendFileSync(path, line);
    bytes += Buffer.byteLength(line);
  };
  return {
    at,
    debug: (message) => at('debug', message),
    info: (message) => at('info', message),
    warn: (message) => at('warn', message),
    error: (message) => at('error', message),
  };
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}
