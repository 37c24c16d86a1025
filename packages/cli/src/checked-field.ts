import { Fault, showValue } from '@spill/core';
import { usageError } from './cli-error.js';

/** A value of the command line, checked as the protocol checks it. @throws CliError */
export function checkedField<T>(name: string, value: unknown, check: (value: unknown) => T | Fault): T {
  const result = check(value);
  if (result instanceof Fault) throw usageError(`${name} is ${showValue(value)}: ${result.must}`);
  return result;
}
