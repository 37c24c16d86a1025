import { once } from 'node:events';
import pc from 'picocolors';
import type { Colors } from './render/colors.js';

/** Where a command writes. Results go to standard output, everything else to standard error. */
export interface Output {
  readonly json: boolean;
  /** Of standard output: none where that is no terminal. */
  readonly colors: Colors;
  /** The result: as JSON on one line with `--json`, else what `text` makes of it. */
  result(value: unknown, text: () => string): void;
  /** Standard output, as it is; resolves when more may be written. */
  write(text: string): Promise<void>;
  /** A line for a person, on standard error; nothing with `--json`. */
  note(line: string): void;
}

/** One line of JSON; amounts (bigint) become decimal strings, as in the protocol's replies. */
export function toJson(value: unknown): string {
  return JSON.stringify(value, (_, item) => (typeof item === 'bigint' ? item.toString() : item));
}

export function createOutput(json: boolean): Output {
  return {
    json,
    colors: pc.createColors(process.stdout.isTTY === true && pc.isColorSupported),
    result(value, text) {
      const shown = json ? toJson(value) : text();
      if (shown !== '') process.stdout.write(shown.endsWith('\n') ? shown : `${shown}\n`);
    },
    write: async (text) => {
      if (!process.stdout.write(text)) await once(process.stdout, 'drain');
    },
    note: (line) => {
      if (!json) process.stderr.write(`${line}\n`);
    },
  };
}
