import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

export interface PlainNatsServer {
  readonly url: string;
  readonly monitorUrl: string;
  readonly child: ChildProcess;
  stop(): Promise<void>;
}

/**
 * A nats-server with a configuration of the test's own, on free ports of 127.0.0.1: `config` is what stands beside
 * host, ports and nothing else. Resolves when it is ready.
 */
export async function startPlainNatsServer(binary: string, folder: string, config: string): Promise<PlainNatsServer> {
  await mkdir(folder, { recursive: true });
  const file = join(folder, 'server.conf');
  await writeFile(file, `host: 127.0.0.1\nport: -1\nhttp: "127.0.0.1:-1"\n${config}\n`);
  const child = spawn(binary, ['--config', file], { stdio: ['ignore', 'ignore', 'pipe'] });
  const exit = once(child, 'exit');
  const lines: string[] = [];
  let url = '';
  let monitorUrl = '';
  const input = createInterface({ input: child.stderr! });
  await new Promise<void>((resolve, reject) => {
    input.on('line', (line) => {
      lines.push(line);
      url ||= /client connections on (\S+)/.exec(line)?.[1] ?? '';
      monitorUrl ||= /http monitor on (\S+)/.exec(line)?.[1] ?? '';
      if (line.includes('Server is ready')) resolve();
    });
    child.once('exit', () => reject(new Error(lines.join('\n'))));
  });
  return {
    url: `nats://${url}`,
    monitorUrl: `http://${monitorUrl}`,
    child,
    async stop() {
      child.kill('SIGKILL');
      await exit;
    },
  };
}
