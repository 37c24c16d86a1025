import { constants } from 'node:fs';
import { access, readdir, stat } from 'node:fs/promises';
import { delimiter, join, resolve } from 'node:path';
import { NatsServerError } from './nats-server-error.js';
import { readBinaryVersion } from './read-binary-version.js';
import {
  checkServerVersion,
  compareServerVersions,
  MINIMUM_SERVER_VERSION,
  RECOMMENDED_SERVER_VERSION,
} from './server-version.js';

/** Where a nats-server came from. */
export type NatsServerSource = 'SPILL_NATS_SERVER' | 'PATH' | 'cache' | 'go' | 'pip';

export interface NatsServerBinary {
  /** Absolute path of the executable. */
  readonly path: string;
  /** As `2.14.9`. */
  readonly version: string;
  readonly source: NatsServerSource;
  /** One sentence to show once, where the version is accepted but older than recommended. */
  readonly warning?: string;
}

/** A binary with its warning, where its version asks for one. The version must not be one that is refused. */
export function describeBinary(path: string, version: string, source: NatsServerSource): NatsServerBinary {
  if (checkServerVersion(version) === 'ok') return { path, version, source };
  const warning =
    `nats-server ${version} (${path}) lacks durability fixes that spill wants; ` +
    `use ${RECOMMENDED_SERVER_VERSION} or newer`;
  return { path, version, source, warning };
}

async function isExecutableFile(path: string): Promise<boolean> {
  try {
    await access(path, constants.X_OK);
    return (await stat(path)).isFile();
  } catch {
    return false; // Not there, or not ours to run: either way no candidate.
  }
}

/** What the user named must work: falling back to another binary in silence would not be what was asked for. */
async function namedByUser(path: string): Promise<NatsServerBinary> {
  const absolute = resolve(path);
  const unusable = (why: string, cause?: unknown) =>
    new NatsServerError(
      'NATS_SERVER_UNUSABLE',
      `SPILL_NATS_SERVER=${path}: ${why}; name a nats-server ${RECOMMENDED_SERVER_VERSION} or newer, or unset it`,
      undefined,
      { cause },
    );
  if (!(await isExecutableFile(absolute))) throw unusable('no executable file');
  const version = await readBinaryVersion(absolute).catch((error: unknown) => {
    throw unusable(`does not run as a nats-server (${(error as Error).message})`, error);
  });
  if (checkServerVersion(version) === 'refuse') {
    throw unusable(`version ${version} is older than ${MINIMUM_SERVER_VERSION}, the oldest that spill accepts`);
  }
  return describeBinary(absolute, version, 'SPILL_NATS_SERVER');
}

/** The usable ones among some paths, in their order. What does not run, or is too old, is passed over. */
async function usable(paths: readonly string[], source: NatsServerSource): Promise<NatsServerBinary[]> {
  const found: NatsServerBinary[] = [];
  for (const path of paths) {
    if (!(await isExecutableFile(path))) continue;
    const version = await readBinaryVersion(path).catch(() => undefined);
    if (version !== undefined && checkServerVersion(version) !== 'refuse') {
      found.push(describeBinary(path, version, source));
    }
  }
  return found;
}

async function cachedPaths(cacheDir: string): Promise<string[]> {
  const entries = await readdir(cacheDir).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return [];
    throw error;
  });
  return entries.filter((entry) => /^\d/.test(entry)).map((entry) => join(cacheDir, entry, 'nats-server'));
}

/**
 * Finds a nats-server on this machine: the one that `SPILL_NATS_SERVER` names (an error where it can't be used), else
 * one on `PATH`, else the newest in the cache. One that is recommended goes before one that only passes with a warning,
 * wherever it lies. `undefined` where there is none.
 */
export async function findNatsServer(env: NodeJS.ProcessEnv, cacheDir: string): Promise<NatsServerBinary | undefined> {
  if (env.SPILL_NATS_SERVER) return namedByUser(env.SPILL_NATS_SERVER);
  const folders = (env.PATH ?? '').split(delimiter).filter((folder) => folder !== '');
  const onPath = await usable(
    folders.map((folder) => join(resolve(folder), 'nats-server')),
    'PATH',
  );
  const cached = await usable(await cachedPaths(cacheDir), 'cache');
  cached.sort((a, b) => compareServerVersions(b.version, a.version));
  const candidates = [...onPath, ...cached];
  return candidates.find((candidate) => candidate.warning === undefined) ?? candidates[0];
}
