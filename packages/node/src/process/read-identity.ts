import { readFileSync } from 'node:fs';
import type { ProcessIdentity } from '../nats/process-identity.js';

/**
 * Which process a file names; null where there is none, or one that a power cut left half written: then no process of
 * before runs either.
 */
export function readIdentity(path: string): ProcessIdentity | null {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return null;
    throw error;
  }
  try {
    const { pid, startTime, commandLine } = JSON.parse(text) as Partial<ProcessIdentity>;
    if (typeof pid !== 'number' || typeof startTime !== 'string' || typeof commandLine !== 'string') return null;
    return { pid, startTime, commandLine };
  } catch (error) {
    if (error instanceof SyntaxError) return null;
    throw error;
  }
}
