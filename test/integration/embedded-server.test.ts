import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { chmod, mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { connect } from 'nats';
import { afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { type EmbeddedServer, startEmbeddedServer } from '../../packages/node/dist/nats/embedded-server.js';
import {
  embeddedServerFilePath,
  readEmbeddedServerFile,
  writeEmbeddedServerFile,
} from '../../packages/node/dist/nats/embedded-server-file.js';
import { endProcess } from '../../packages/node/dist/nats/end-process.js';
import { freePort } from '../../packages/node/dist/nats/free-port.js';
import {
  identityFromPs,
  isStillRunning,
  type ProcessIdentity,
  processIdentity,
} from '../../packages/node/dist/nats/process-identity.js';
import { provideNatsServer } from '../../packages/node/dist/nats/provide-nats-server.js';
import { readPeers } from '../../packages/node/dist/nats/server-peers.js';
import { readServerSettings } from '../../packages/node/dist/nats/server-settings.js';
import { until } from '../support/fault.js';

let binary: string;
let dataDir: string;
let lines: string[];
const servers: EmbeddedServer[] = [];
const children: ChildProcess[] = [];

beforeAll(async () => {
  binary = (await provideNatsServer()).path;
});

beforeEach(async () => {
  dataDir = await mkdtemp(join(tmpdir(), 'spill embedded "quoted"-'));
  lines = [];
});

afterEach(async () => {
  for (const server of servers.splice(0)) await server.stop();
  const file = embeddedServerFilePath(dataDir);
  const left = existsSync(file) ? await readFile(file, 'utf8') : '';
  if (left.endsWith('}\n')) await endProcess(JSON.parse(left)); // Where a test failed half-way.
  for (const child of children.splice(0)) child.kill('SIGKILL');
  await rm(dataDir, { recursive: true, force: true });
});

async function start(more: Partial<Parameters<typeof startEmbeddedServer>[0]> = {}): Promise<EmbeddedServer> {
  const server = await startEmbeddedServer({ binary, dataDir, port: 0, log: (line) => lines.push(line), ...more });
  servers.push(server);
  return server;
}

/** A nats-server that nobody waits for any more, as a killed node leaves it: its parent has ended. */
async function leaveOrphan(): Promise<number> {
  const port = await freePort();
  const code = `
    import { startEmbeddedServer } from ${JSON.stringify(new URL('../../packages/node/dist/nats/embedded-server.js', import.meta.url).href)};
    const [binary, dataDir, port] = process.argv.slice(1);
    const server = await startEmbeddedServer({ binary, dataDir, port: Number(port), log: () => {} });
    console.log(server.pid);
  `;
  const parent = spawn(process.execPath, ['--input-type=module', '-e', code, binary, dataDir, String(port)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  children.push(parent);
  const [output] = (await once(parent.stdout!, 'data')) as [Buffer];
  parent.kill('SIGKILL');
  await once(parent, 'exit');
  return Number(output.toString());
}

/** A process that lives until it is ended, seen when its exec is over: `spawn` may return before that. */
async function sleeper(): Promise<{ child: ChildProcess; identity: ProcessIdentity }> {
  const child = spawn('sleep', ['60'], { stdio: 'ignore' });
  children.push(child);
  const seen = () => processIdentity(child.pid!)!;
  await until('its command line', () => seen().commandLine !== '');
  return { child, identity: seen() };
}

describe('the embedded nats-server', () => {
  it('is ready for clients and JetStream when the start resolves, and tells its settings', async () => {
    const server = await start();
    const settings = await readServerSettings(server.monitorUrl);
    expect(settings).toMatchObject({
      jetstream: true,
      syncAlways: true,
      maxPayload: 8 * 1024 * 1024,
      jetstreamStoreDir: join(dataDir, 'jetstream', 'jetstream'),
      serverName: 'spill',
    });
    const client = await connect({ servers: server.url, reconnect: false });
    const manager = await client.jetstreamManager();
    await manager.streams.add({ name: 'FIRST', subjects: ['first'] });
    const ack = await client.jetstream().publish('first', 'at once');
    expect(ack.seq).toBe(1);
    await client.close();
    expect(lines).toEqual([]);
  });

  it('keeps its pid, start time, command line and ports in the data folder while it runs', async () => {
    const server = await start();
    const file = readEmbeddedServerFile(dataDir)!;
    expect(file).toMatchObject({ pid: server.pid, port: server.port, monitorPort: server.monitorPort });
    expect(isStillRunning(file)).toBe(true);
    await server.stop();
    expect(existsSync(embeddedServerFilePath(dataDir))).toBe(false);
    expect(isStillRunning(file)).toBe(false);
    await server.stop();
  });

  it('tells of its own end, and keeps what was acknowledged', async () => {
    const first = await start({ port: await freePort() });
    const client = await connect({ servers: first.url, reconnect: false });
    await (await client.jetstreamManager()).streams.add({ name: 'KEPT', subjects: ['kept'] });
    await client.jetstream().publish('kept', 'x');
    process.kill(first.pid, 'SIGKILL');
    expect(await first.exited).toEqual({ code: null, signal: 'SIGKILL' });
    await client.closed();

    const second = await start({ port: first.port });
    expect(second.url).toBe(first.url);
    const again = await connect({ servers: second.url, reconnect: false });
    const info = await (await again.jetstreamManager()).streams.info('KEPT');
    expect(info.state.last_seq).toBe(1);
    await again.close();
  });

  it('names a taken port and the way out', async () => {
    const other = createServer();
    other.listen(0, '127.0.0.1');
    await once(other, 'listening');
    const { port } = other.address() as { port: number };
    const error = await start({ port }).catch((e: unknown) => e);
    other.close();
    expect(error).toMatchObject({ code: 'NATS_PORT_TAKEN', port });
    expect((error as Error).message).toContain(String(port));
    expect((error as Error).message).toContain('--nats-port');
    expect(existsSync(embeddedServerFilePath(dataDir))).toBe(false);
  });

  it('says why the server ended at its start', async () => {
    const broken = join(dataDir, 'broken');
    await writeFile(broken, '#!/bin/sh\necho "[1] [INF] one" >&2; echo "[1] [FTL] the disk is gone" >&2; exit 3\n');
    await chmod(broken, 0o755);
    const error = await start({ binary: broken }).catch((e: unknown) => e);
    expect(error).toMatchObject({ code: 'NATS_SERVER_NOT_STARTED' });
    expect((error as Error).message).toContain('code 3');
    expect((error as Error).message).toContain('the disk is gone');
    expect(lines).toEqual([expect.stringContaining('the disk is gone')]);
    expect(existsSync(embeddedServerFilePath(dataDir))).toBe(false);
  });

  it('says that a binary is none', async () => {
    const error = await start({ binary: join(dataDir, 'nowhere') }).catch((e: unknown) => e);
    expect(error).toMatchObject({ code: 'NATS_SERVER_NOT_STARTED', message: expect.stringContaining('nowhere') });
  });

  it('ends a server that does not stop by itself', { timeout: 30_000 }, async () => {
    const server = await start();
    process.kill(server.pid, 'SIGSTOP');
    await server.stop();
    expect(await server.exited).toEqual({ code: null, signal: 'SIGKILL' });
  });
});

describe('an orphan', () => {
  it('is ended by the next start in its data folder', async () => {
    const pid = await leaveOrphan();
    const orphan = readEmbeddedServerFile(dataDir)!;
    expect(orphan.pid).toBe(pid);
    expect(isStillRunning(orphan)).toBe(true);

    const server = await start({ port: orphan.port });
    expect(isStillRunning(orphan)).toBe(false);
    expect(server.pid).not.toBe(pid);
    expect(lines).toEqual([expect.stringContaining(String(pid))]);
  });

  it('is only what the file names in full: another process with its pid is left alone', async () => {
    const { child: innocent, identity } = await sleeper();
    const { pid, startTime, commandLine } = identity;
    const ports = { port: 0, monitorPort: 0 };
    for (const file of [
      { pid, startTime: 'another boot 17', commandLine, ...ports },
      { pid, startTime, commandLine: 'nats-server', ...ports },
    ]) {
      writeEmbeddedServerFile(dataDir, file);
      const server = await start();
      expect(innocent.exitCode ?? innocent.signalCode).toBe(null);
      expect(lines).toEqual([]);
      await server.stop();
    }
    writeEmbeddedServerFile(dataDir, { pid, startTime, commandLine, ...ports });
    await start();
    expect(processIdentity(pid)).toBe(undefined);
  });

  it('is known by its start time where it was noted in the middle of its exec, with an empty command line', async () => {
    const { pid, startTime } = (await sleeper()).identity;
    writeEmbeddedServerFile(dataDir, { pid, startTime: 'another boot 17', commandLine: '', port: 0, monitorPort: 0 });
    await (await start()).stop();
    expect(processIdentity(pid)).not.toBe(undefined);
    writeEmbeddedServerFile(dataDir, { pid, startTime, commandLine: '', port: 0, monitorPort: 0 });
    await start();
    expect(processIdentity(pid)).toBe(undefined);
  });

  it('is not guessed at from a file that is damaged', async () => {
    await writeFile(embeddedServerFilePath(dataDir), '{"pid": 1');
    await expect(start()).rejects.toThrow(embeddedServerFilePath(dataDir));
    expect(await readFile(embeddedServerFilePath(dataDir), 'utf8')).toBe('{"pid": 1');
  });
});

describe('servers of one cluster', () => {
  it('take only those in that know its secret', { timeout: 60_000 }, async () => {
    const ports = await Promise.all([freePort(), freePort(), freePort()]);
    const secret = 'b1946ac92492d2347c6235b4d2611184';
    const member = (place: number, secretHere: string | null): Promise<EmbeddedServer> =>
      start({
        dataDir: join(dataDir, `n${place}`),
        serverName: `n${place}`,
        cluster: {
          name: 'test',
          port: ports[place] as number,
          join: place === 0 ? [] : [`127.0.0.1:${ports[0]}`],
          secret: secretHere,
        },
      });
    const first = await member(0, secret);
    await member(1, secret);
    await until('two servers to meet', async () => (await readPeers(first.monitorUrl)).servers === 2);
    const { mode } = await stat(join(dataDir, 'n0', 'nats-server.conf'));
    expect(mode & 0o777).toBe(0o600);

    const stranger = await member(2, null);
    await until('the stranger to be refused', () => lines.some((line) => /authorization|authentication/i.test(line)));
    expect((await readPeers(stranger.monitorUrl)).servers).toBe(1);
    expect((await readPeers(first.monitorUrl)).servers).toBe(2);
    expect(lines.join()).not.toContain(secret);
  });
});

describe('a process', () => {
  it('has one identity, by /proc and by ps, until it ends', async () => {
    const { child, identity } = await sleeper();
    expect(identity.commandLine).toBe('sleep 60');
    expect(processIdentity(child.pid!)).toEqual(identity);
    const byPs = identityFromPs(child.pid!)!;
    expect(byPs.commandLine).toBe('sleep 60');
    expect(byPs.startTime).toMatch(/\d\d:\d\d:\d\d \d{4}$/);
    const exit = once(child, 'exit');
    expect(await endProcess(identity)).toBe(true);
    await exit;
    expect(identityFromPs(child.pid!)).toBe(undefined);
    expect(await endProcess(identity)).toBe(false);
  });

  it('finds free ports', async () => {
    const port = await freePort();
    const server = createServer().listen(port, '127.0.0.1');
    await once(server, 'listening');
    server.close();
  });
});

describe('a monitor URL', () => {
  it('that answers with something else is no monitor', async () => {
    const port = await freePort();
    await expect(readServerSettings(`http://127.0.0.1:${port}`)).rejects.toThrow(
      `no nats-server monitor at http://127`,
    );
    const { createServer: createHttpServer } = await import('node:http');
    const web = createHttpServer((_, response) => response.end('{"hello":"world"}')).listen(port, '127.0.0.1');
    await once(web, 'listening');
    await expect(readServerSettings(`http://127.0.0.1:${port}`)).rejects.toThrow('no nats-server monitor');
    web.close();
  });

  it('of a server without sync always shows that', async () => {
    const config = join(dataDir, 'plain.conf');
    const monitor = await freePort();
    const port = await freePort();
    await writeFile(
      config,
      `port: ${port}\nhttp: "127.0.0.1:${monitor}"\njetstream { store_dir: ${JSON.stringify(join(dataDir, 's'))} }`,
    );
    const plain = spawn(binary, ['-c', config], { stdio: ['ignore', 'ignore', 'pipe'] });
    children.push(plain);
    for await (const chunk of plain.stderr!) if (String(chunk).includes('Server is ready')) break;
    const settings = await readServerSettings(`http://127.0.0.1:${monitor}`);
    expect(settings).toMatchObject({
      jetstream: true,
      syncAlways: false,
      syncIntervalNs: 120e9,
      maxPayload: 1_048_576,
    });
  });
});
