import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { startEmbeddedDatabase } from '@spill/node';

/**
 * Puts an empty, initialised PGlite into a data folder, so that starting on it takes a fifth of the time: PGlite's
 * initdb costs 4 s of CPU, a copy almost nothing. The copy's origin is made once per version of PGlite.
 */
export async function prepareEmbeddedDataDir(dataDir: string): Promise<void> {
  const origin = join(tmpdir(), `spill-test-pglite-${pgliteVersion()}-${process.getuid?.() ?? 0}`);
  if (!existsSync(origin)) await makeOrigin(origin);
  mkdirSync(dataDir, { recursive: true });
  cpSync(join(origin, 'database'), join(dataDir, 'database'), { recursive: true });
}

async function makeOrigin(origin: string): Promise<void> {
  const building = mkdtempSync(`${origin}-`);
  const embedded = await startEmbeddedDatabase({ dataDir: building });
  await embedded.stop();
  try {
    renameSync(building, origin);
  } catch (error) {
    // Another test process was quicker: its copy is the same.
    rmSync(building, { recursive: true, force: true });
    if (!existsSync(origin)) throw error;
  }
}

function pgliteVersion(): string {
  let folder = dirname(createRequire(import.meta.url).resolve('@electric-sql/pglite'));
  while (!existsSync(join(folder, 'package.json'))) folder = dirname(folder);
  return (JSON.parse(readFileSync(join(folder, 'package.json'), 'utf8')) as { version: string }).version;
}
