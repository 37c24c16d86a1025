import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const run = promisify(execFile);

const REQUIREMENTS = fileURLToPath(new URL('./python/requirements.txt', import.meta.url));
const CACHE = fileURLToPath(new URL('../../.cache/interop-python/', import.meta.url));
const PYTHON = 'python3';
const INSTALL_MS = 300_000;

/**
 * The folder with the Python packages of these tests, for PYTHONPATH; installed by pip at the first use. `--target`
 * rather than a virtual environment, since Debian's Python comes without what it takes to make one.
 *
 * @throws Error saying what is missing: without Python and pip these tests fail, they are never skipped.
 */
export async function pythonPackages(): Promise<string> {
  const version = await run(PYTHON, ['-m', 'pip', '--version']).catch((error: Error) => {
    throw new Error(`the interop tests need python3 with pip (apt-get install python3-pip): ${error.message}`);
  });
  const key = createHash('sha256').update(version.stdout).update(readFileSync(REQUIREMENTS)).digest('hex').slice(0, 16);
  const folder = join(CACHE, key);
  if (existsSync(folder)) return folder;
  mkdirSync(CACHE, { recursive: true });
  const getting = mkdtempSync(join(CACHE, '.getting-'));
  try {
    const quiet = ['--quiet', '--no-input', '--disable-pip-version-check', '--no-warn-script-location'];
    await run(PYTHON, ['-m', 'pip', 'install', ...quiet, '--target', getting, '--requirement', REQUIREMENTS], {
      timeout: INSTALL_MS,
    });
    renameSync(getting, folder);
  } catch (error) {
    // Another run may have been faster; then its folder serves as well.
    if (!existsSync(folder)) throw new Error(`pip could not install ${REQUIREMENTS}: ${(error as Error).message}`);
  } finally {
    rmSync(getting, { recursive: true, force: true });
  }
  return folder;
}

/** Runs a Python script with those packages. Resolves with what it wrote; rejects where it fails, with all of that. */
export async function runPython(
  script: string,
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Promise<string> {
  const packages = await pythonPackages();
  try {
    const { stdout } = await run(PYTHON, [script, ...args], {
      env: { ...process.env, ...env, PYTHONPATH: packages, PYTHONDONTWRITEBYTECODE: '1' },
      timeout: 120_000,
    });
    return stdout;
  } catch (error) {
    const { stdout, stderr, message } = error as Error & { stdout?: string; stderr?: string };
    throw new Error([message.split('\n')[0], stdout, stderr].join('\n'));
  }
}
