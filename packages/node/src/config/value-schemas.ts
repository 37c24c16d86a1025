/**
 * One schema a kind of value. Each takes what a JSON file may hold and the text that flags and the environment hold,
 * and its message completes the sentence `<key> is <value>: …`, ending with the way out.
 */
import { POOLS, type Pool } from '@spill/core';
import * as v from 'valibot';

/** Why a value is refused. */
class Failed {
  constructor(readonly message: string) {}
}

function parsed<T>(parse: (given: unknown) => T | Failed): v.GenericSchema<unknown, T> {
  return v.pipe(
    v.unknown(),
    v.rawTransform(({ dataset, addIssue, NEVER }) => {
      const value = parse(dataset.value);
      if (value instanceof Failed) {
        addIssue({ message: value.message });
        return NEVER;
      }
      return value;
    }),
  );
}

const trimmed = (given: unknown): string | null => (typeof given === 'string' ? given.trim() : null);

export function wholeNumber(min: number, max: number, example: number): v.GenericSchema<unknown, number> {
  return parsed((given) => {
    const text = trimmed(given);
    const value = typeof given === 'number' ? given : text !== null && /^-?\d+$/.test(text) ? Number(text) : Number.NaN;
    if (Number.isSafeInteger(value) && value >= min && value <= max) return value;
    return new Failed(`must be a whole number from ${min} to ${max}, such as ${example}`);
  });
}

/** An amount in minor units: from JSON a safe integer or a decimal string. */
export function amount(min: bigint, max: bigint, example: bigint): v.GenericSchema<unknown, bigint> {
  return parsed((given) => {
    const text = typeof given === 'number' && Number.isSafeInteger(given) ? String(given) : trimmed(given);
    if (text !== null && /^\d{1,19}$/.test(text)) {
      const value = BigInt(text);
      if (value >= min && value <= max) return value;
    }
    return new Failed(`must be a whole number of minor units from ${min} to ${max}, such as ${example}`);
  });
}

export function fraction(example: number): v.GenericSchema<unknown, number> {
  return parsed((given) => {
    const text = trimmed(given);
    const value =
      typeof given === 'number' ? given : text !== null && /^\d*\.?\d+$/.test(text) ? Number(text) : Number.NaN;
    if (value > 0 && value <= 1) return value;
    return new Failed(`must be a fraction above 0, at most 1, such as ${example}`);
  });
}

export function yesOrNo(): v.GenericSchema<unknown, boolean> {
  return parsed((given) => {
    if (typeof given === 'boolean') return given;
    const text = trimmed(given)?.toLowerCase();
    if (text === 'true' || text === '1' || text === 'yes') return true;
    if (text === 'false' || text === '0' || text === 'no') return false;
    return new Failed('must be true or false');
  });
}

export function oneOf<const T extends string>(choices: readonly T[]): v.GenericSchema<unknown, T> {
  return parsed((given) => {
    const text = trimmed(given);
    return choices.find((choice) => choice === text) ?? new Failed(`must be one of ${choices.join(', ')}`);
  });
}

export function oneOfNumbers(choices: readonly number[]): v.GenericSchema<unknown, number> {
  return parsed((given) => {
    const value = typeof given === 'number' ? given : Number(trimmed(given) || Number.NaN);
    return choices.includes(value) ? value : new Failed(`must be one of ${choices.join(', ')}`);
  });
}

/** `what` completes "must be", with an example. */
export function text(pattern: RegExp, what: string): v.GenericSchema<unknown, string> {
  return parsed((given) => {
    const value = trimmed(given);
    return value !== null && pattern.test(value) ? value : new Failed(`must be ${what}`);
  });
}

/** One URL of these protocols, or several separated by commas where `several`. */
export function url(protocols: readonly string[], example: string, several = false): v.GenericSchema<unknown, string> {
  return parsed((given) => {
    const value = trimmed(given);
    const parts = value === null ? [] : several ? value.split(',').map((part) => part.trim()) : [value];
    const good =
      parts.length > 0 && parts.every((part) => URL.canParse(part) && protocols.includes(new URL(part).protocol));
    if (good) return parts.join(',');
    const kinds = protocols.map((protocol) => `${protocol}//`).join(' or ');
    return new Failed(`must be a URL that begins with ${kinds}, such as ${example}`);
  });
}

const DURATION_UNITS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  sec: 1_000,
  min: 60_000,
  h: 3_600_000,
  d: 86_400_000,
};

/** `90 s`, `10 min`, `24 h`: the largest unit that leaves a whole number. */
export function showDuration(ms: number): string {
  for (const unit of ['d', 'h', 'min', 's']) {
    const size = DURATION_UNITS[unit]!;
    if (ms >= size && ms % size === 0) return `${ms / size} ${unit}`;
  }
  return `${ms} ms`;
}

/**
 * Milliseconds. A bare number is milliseconds where the key ends with `_ms` (`bareMs`) and refused otherwise: whether
 * 10 are seconds or minutes is not for spill to guess.
 */
export function duration(
  minMs: number,
  maxMs: number,
  exampleMs: number,
  bareMs = false,
): v.GenericSchema<unknown, number> {
  return parsed((given) => {
    const written = typeof given === 'number' ? String(given) : (trimmed(given) ?? '');
    const match = /^(\d+(?:\.\d+)?)\s*(ms|s|sec|min|h|d)?$/.exec(written);
    const range = `from ${showDuration(minMs)} to ${showDuration(maxMs)}`;
    if (match) {
      const unit = match[2] ?? (bareMs ? 'ms' : undefined);
      if (unit === undefined) return new Failed(`must say its unit (ms, s, min, h, d), such as "${match[1]} s"`);
      const ms = Math.round(Number(match[1]) * DURATION_UNITS[unit]!);
      if (ms >= minMs && ms <= maxMs) return ms;
    }
    return new Failed(`must be a duration ${range}, such as "${showDuration(exampleMs)}"`);
  });
}

const SIZE_UNITS: Readonly<Record<string, number>> = {
  b: 1,
  kb: 1_000,
  mb: 1_000_000,
  gb: 1_000_000_000,
  tb: 1_000_000_000_000,
  kib: 2 ** 10,
  mib: 2 ** 20,
  gib: 2 ** 30,
  tib: 2 ** 40,
};

/** `512 KiB`, `1 GiB`: the largest unit that leaves a whole number. */
export function showSize(bytes: number): string {
  for (const unit of ['TiB', 'GiB', 'MiB', 'KiB']) {
    const size = SIZE_UNITS[unit.toLowerCase()]!;
    if (bytes >= size && bytes % size === 0) return `${bytes / size} ${unit}`;
  }
  return `${bytes} B`;
}

/** Bytes. */
export function size(min: number, max: number, example: number): v.GenericSchema<unknown, number> {
  return parsed((given) => {
    const written = typeof given === 'number' ? String(given) : (trimmed(given) ?? '');
    const match = /^(\d+(?:\.\d+)?)\s*([kmgt]?i?b)?$/i.exec(written);
    const unit = match && SIZE_UNITS[(match[2] ?? 'b').toLowerCase()];
    if (unit) {
      const bytes = Math.round(Number(match[1]) * unit);
      if (bytes >= min && bytes <= max) return bytes;
    }
    return new Failed(`must be a size from ${showSize(min)} to ${showSize(max)}, such as "${showSize(example)}"`);
  });
}

/** `["10.0.0.6", "10.0.0.7:6222"]`, or these separated by commas or blanks. */
export function hosts(): v.GenericSchema<unknown, readonly string[]> {
  const good = (part: unknown): part is string =>
    typeof part === 'string' && /^([a-zA-Z0-9.-]{1,253}|\[[0-9a-fA-F:]+\])(:\d{1,5})?$/.test(part);
  return parsed((given) => {
    const parts = (Array.isArray(given) ? given : [given]).flatMap((part) =>
      typeof part === 'string' ? part.split(/[\s,]+/).filter((piece) => piece !== '') : [part],
    );
    if (parts.length > 0 && parts.every(good)) return parts;
    return new Failed('must be hosts of the other machines, such as 10.0.0.6 or 10.0.0.6:6222');
  });
}

/** Of one node, or asked of a node: `{"disk": "fast"}`. */
export type Labels = Readonly<Record<string, string>>;

/** `{"large": {"disk": "fast"}}`, or `large:disk=fast,zone=a;debit:disk=fast` in flags and the environment. */
export function poolLabels(): v.GenericSchema<unknown, Readonly<Partial<Record<Pool, Labels>>>> {
  const one = labels();
  const pools: readonly string[] = POOLS;
  return parsed((given) => {
    const text = trimmed(given);
    const pairs: [string, unknown][] =
      text !== null
        ? text.split(';').map((part) => [part.slice(0, part.indexOf(':')).trim(), part.slice(part.indexOf(':') + 1)])
        : Object.entries(given ?? {});
    const read = pairs.map(([pool, asked]) => ({ pool, asked: v.safeParse(one, asked) }));
    if (pairs.length > 0 && read.every(({ pool, asked }) => pools.includes(pool) && asked.success)) {
      return Object.fromEntries(read.map(({ pool, asked }) => [pool, asked.output as Labels]));
    }
    return new Failed(
      `must be labels a pool (${pools.join(', ')}), such as large:disk=fast or {"large": {"disk": "fast"}}`,
    );
  });
}

/** `{"disk": "fast"}`, or `disk=fast,zone=a` in flags and the environment. */
export function labels(): v.GenericSchema<unknown, Readonly<Record<string, string>>> {
  const good = (part: unknown) => typeof part === 'string' && /^[\w.-]{1,63}$/.test(part);
  return parsed((given) => {
    const pairs: [unknown, unknown][] =
      typeof given === 'object' && given !== null && !Array.isArray(given)
        ? Object.entries(given)
        : (trimmed(given) ?? '=').split(',').map((pair) => pair.split('=', 2) as [string, string]);
    if (pairs.every(([name, value]) => good(name) && good(value))) {
      return Object.fromEntries(pairs) as Record<string, string>;
    }
    return new Failed('must be name=value pairs of letters, digits, _, . and -, such as disk=fast,zone=a');
  });
}
