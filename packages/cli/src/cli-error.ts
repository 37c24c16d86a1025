import { EXIT } from './exit-codes.js';

/** An expected failure of the command line itself: shown as one message, without a stack. */
export class CliError extends Error {
  override readonly name = 'CliError';

  constructor(
    message: string,
    readonly exitCode: number,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** The command line or a file can't be used as it is. */
export function usageError(message: string, options?: ErrorOptions): CliError {
  return new CliError(message, EXIT.usage, options);
}
