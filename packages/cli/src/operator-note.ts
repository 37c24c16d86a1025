import { userInfo } from 'node:os';
import type { OperatorNote } from '@spill/core';
import { usageError } from './cli-error.js';
import type { Options } from './cli-settings.js';

/** Who acts, by `--who` or as the system knows them, and why. */
export function operatorNote(options: Options): OperatorNote {
  const why = String(options.why ?? '').trim();
  if (why === '') throw usageError('--why is empty: say why, it is kept beside the action');
  const who = String(options.who ?? process.env.USER ?? userName()).trim();
  if (who === '') throw usageError('nobody is named: say who decides this with --who');
  return { who, why };
}

function userName(): string {
  try {
    return userInfo().username;
  } catch (error) {
    // A user id without a name, as in some containers.
    if ((error as NodeJS.ErrnoException).code === 'ERR_SYSTEM_ERROR') return '';
    throw error;
  }
}
