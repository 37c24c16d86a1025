import {
  DataTableSchemaError,
  DataTableUnavailableError,
  OperatorActionError,
  SpillError,
  TransientDataTableError,
} from '@spill/core';
import { SettingsError } from '@spill/node';
import { CommanderError } from 'commander';
import { CliError } from './cli-error.js';
import { EXIT } from './exit-codes.js';

export interface ErrorDescription {
  readonly exitCode: number;
  /** For scripts: a code of the protocol, or one of `usage`, `schema`, `failed`. */
  readonly code: string;
  readonly message: string;
  readonly retryable: boolean;
  /** Not foreseen: the stack helps whoever has to find out. */
  readonly unexpected?: boolean;
}

/** Every failure as an exit code and a message that names the way out. */
export function describeError(error: unknown): ErrorDescription {
  if (error instanceof SpillError) {
    const { code, retryable } = error;
    return { exitCode: retryable ? EXIT.unavailable : EXIT.refused, code, message: withWayOut(error), retryable };
  }
  if (error instanceof DataTableUnavailableError || error instanceof TransientDataTableError) {
    const message = `the database does not answer: ${error.message}; try again, or name it with --database-url`;
    return { exitCode: EXIT.unavailable, code: 'unavailable', message, retryable: true };
  }
  if (error instanceof DataTableSchemaError) {
    return { exitCode: EXIT.refused, code: 'schema', message: error.message, retryable: false };
  }
  if (error instanceof OperatorActionError) {
    return { exitCode: EXIT.refused, code: error.code, message: error.message, retryable: false };
  }
  if (error instanceof SettingsError || error instanceof CommanderError) {
    return { exitCode: EXIT.usage, code: 'usage', message: error.message, retryable: false };
  }
  if (error instanceof CliError) {
    const retryable = error.exitCode === EXIT.unavailable;
    const code = error.exitCode === EXIT.usage ? 'usage' : retryable ? 'unavailable' : 'failed';
    return { exitCode: error.exitCode, code, message: error.message, retryable };
  }
  if (error instanceof Error && error.name === 'NatsError') {
    const message = `NATS: ${error.message}; try again`;
    return { exitCode: EXIT.unavailable, code: 'unavailable', message, retryable: true };
  }
  const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { exitCode: EXIT.refused, code: 'internal', message, retryable: false, unexpected: true };
}

function withWayOut({ code, message }: SpillError): string {
  switch (code) {
    case 'unavailable':
      return `${message}; is the cluster up ("spill-node start")? Name another one with --nats`;
    case 'timeout':
      return `${message}; try again, or wait longer with --timeout`;
    default:
      return message;
  }
}
