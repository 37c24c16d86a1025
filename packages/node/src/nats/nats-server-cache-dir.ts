import { existsSync, readFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';

/** The root of the repository that this file was built in, if it still lies in one. */
function repositoryRoot(): string | undefined {
  for (let folder = import.meta.dirname; folder !== dirname(folder); folder = dirname(folder)) {
    const file = join(folder, 'package.json');
    if (!existsSync(file)) continue;
    const manifest = JSON.parse(readFileSync(file, 'utf8')) as { name?: unknown; workspaces?: unknown };
    if (manifest.name === 'spill' && manifest.workspaces !== undefined) return folder;
  }
  return undefined;
}

/**
 * Where nats-server binaries are kept, one folder a version: `.cache/nats-server` in the repository, or, for an
 * installed package, the user's cache folder.
 */
export function natsServerCacheDir(env: NodeJS.ProcessEnv): string {
  const root = repositoryRoot();
  if (root) return join(root, '.cache', 'nats-server');
  return join(env.XDG_CACHE_HOME || join(homedir(), '.cache'), 'spill', 'nats-server');
}
