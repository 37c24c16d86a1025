import { Fault, wholeField } from '@spill/core';
import { usageError } from './cli-error.js';
import type { Options } from './cli-settings.js';

/** A whole number given as an option; undefined where it was not. @throws CliError */
export function wholeOption(options: Options, name: string, min: number, max: number): number | undefined {
  const given = options[name];
  return given === undefined ? undefined : wholeArgument(`--${name}`, given, min, max);
}

/** A whole number given on the command line. @throws CliError */
export function wholeArgument(name: string, given: unknown, min: number, max: number): number {
  const value = wholeField(given, min, max);
  if (value instanceof Fault) throw usageError(`${name} is ${JSON.stringify(given)}: ${value.must}`);
  return value;
}

export const SHARD_MAX = 0xffff_fffe;
