import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import * as v from 'valibot';

const FILE = v.object({
  pid: v.pipe(v.number(), v.integer(), v.minValue(1)),
  startTime: v.string(),
  commandLine: v.string(),
  port: v.number(),
  monitorPort: v.number(),
  url: v.optional(v.string()),
});

/**
 * `nats-server.pid.json` in the data folder: which process the embedded nats-server is, so that the next start can end
 * that very process, and where it listens. A port is 0 until the server has told which it got.
 */
export type EmbeddedServerFile = Readonly<v.InferOutput<typeof FILE>>;

export function embeddedServerFilePath(dataDir: string): string {
  return join(dataDir, 'nats-server.pid.json');
}

/** Written whole or not at all; synchronous for the same reason as `processIdentity`. */
export function writeEmbeddedServerFile(dataDir: string, content: EmbeddedServerFile): void {
  const path = embeddedServerFilePath(dataDir);
  writeFileSync(`${path}.new`, `${JSON.stringify(content, undefined, 2)}\n`);
  renameSync(`${path}.new`, path);
}

/** `undefined` where no embedded server was started in this folder, or the last one was stopped properly. */
export function readEmbeddedServerFile(dataDir: string): EmbeddedServerFile | undefined {
  const path = embeddedServerFilePath(dataDir);
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
  try {
    return v.parse(FILE, JSON.parse(text));
  } catch (error) {
    throw new Error(`${path} is not as spill wrote it; if no nats-server runs from this folder, remove it`, {
      cause: error,
    });
  }
}
