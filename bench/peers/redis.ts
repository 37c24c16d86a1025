import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { freePort } from '../../packages/node/dist/nats/free-port.js';
import { forSeconds } from '../support/closed-loop.js';
import { leftOut, type Peer } from './peer.js';

const PIPELINE = 1_000;
const IN_FLIGHT = 16;
const SECONDS = 1.5;
const NEW_LINE = 10;

const NAMES = {
  peer: 'Redis',
  what: `Redis, INCRBY with appendfsync always, pipelines of ${PIPELINE.toLocaleString('en-US')}, ${IN_FLIGHT} in flight; a sum, no ids and no ledger`,
};

/** Where `redis-server` is installed; else a peer that is left out. */
export async function redisPeer(): Promise<Peer> {
  if (!isInstalled()) return leftOut(NAMES, 'redis-server is not installed');
  const folder = mkdtempSync(join(tmpdir(), 'spill-redis-'));
  const port = await freePort();
  const flags = { port, bind: '127.0.0.1', dir: folder, save: '', appendonly: 'yes', appendfsync: 'always' };
  const args = Object.entries(flags).flatMap(([name, value]) => [`--${name}`, String(value)]);
  const server = spawn('redis-server', args, { stdio: ['ignore', 'pipe', 'inherit'] });
  const exit = once(server, 'exit');
  process.once('exit', () => server.kill('SIGKILL'));
  await new Promise<void>((resolve, reject) => {
    createInterface({ input: server.stdout }).on('line', (line) => line.includes('Ready to accept') && resolve());
    void exit.then(() => reject(new Error('redis-server ended at its start')));
  });
  const redis = new Redis(connect(port, '127.0.0.1'));
  const pipeline = Buffer.from('INCRBY hot 5\r\n'.repeat(PIPELINE));
  let sent = 0;
  return {
    ...NAMES,
    missing: null,
    measure: async () => {
      const measured = await forSeconds(SECONDS, IN_FLIGHT, () => redis.send(pipeline, PIPELINE));
      sent += measured.sent * PIPELINE;
      // A reply is `:<sum>`: adding 0 tells the sum.
      const reply = await redis.send(Buffer.from('INCRBY hot 0\r\n'), 1);
      if (reply !== `:${sent * 5}`) throw new Error(`Redis holds ${reply}, sent were ${sent * 5}`);
      return { value: measured.value * PIPELINE };
    },
    close: async () => {
      redis.close();
      server.kill('SIGKILL');
      await exit;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

function isInstalled(): boolean {
  try {
    execFileSync('redis-server', ['--version']);
    return true;
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOENT') throw error;
    return false;
  }
}

/** Commands whose replies are one line each. */
class Redis {
  private readonly waiting: { lines: number; resolve: (last: string) => void }[] = [];
  private line = '';

  constructor(private readonly socket: Socket) {
    socket.setNoDelay(true);
    socket.on('data', (data) => this.read(data));
  }

  /** Resolves with the last of `lines` replies. */
  send(commands: Buffer, lines: number): Promise<string> {
    return new Promise((resolve) => {
      this.waiting.push({ lines, resolve });
      this.socket.write(commands);
    });
  }

  close(): void {
    this.socket.destroy();
  }

  private read(data: Buffer): void {
    let from = 0;
    for (let end = data.indexOf(NEW_LINE); end >= 0; end = data.indexOf(NEW_LINE, from)) {
      const first = this.waiting[0];
      if (!first) throw new Error('Redis said more than it was asked');
      if (--first.lines === 0) {
        this.waiting.shift();
        first.resolve((this.line + data.toString('latin1', from, end)).trim());
      }
      this.line = '';
      from = end + 1;
    }
    this.line += data.toString('latin1', from);
  }
}
