#!/usr/bin/env node
import { CommanderError } from 'commander';
import { describeError } from './describe-error.js';
import { EXIT } from './exit-codes.js';
import { toJson } from './output.js';
import { buildProgram } from './program.js';

// The reader of a pipe (`spill transactions … | head`) has seen enough.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code !== 'EPIPE') throw error;
  process.exit(EXIT.ok);
});

try {
  await buildProgram().parseAsync();
} catch (error) {
  process.exitCode = tell(error);
}

/** Writes what went wrong on standard error, and returns the exit code. */
function tell(error: unknown): number {
  // Asked for: help, or the version.
  if (error instanceof CommanderError && error.exitCode === 0) return EXIT.ok;
  const { exitCode, unexpected, ...told } = describeError(error);
  if (process.argv.includes('--json')) process.stderr.write(`${toJson({ error: told })}\n`);
  // Commander has written its own messages already.
  else if (!(error instanceof CommanderError)) {
    process.stderr.write(`spill: ${unexpected ? 'unexpected: ' : ''}${told.message}\n`);
  }
  return exitCode;
}
