import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cpus, loadavg, release, totalmem, type } from 'node:os';
import { join } from 'node:path';
import { provideNatsServer } from '../../packages/node/dist/nats/provide-nats-server.js';
import { postgresBinaries } from '../../test/support/postgres-binaries.js';

/** What the figures were measured on. */
export function machine(): Record<string, string | number> {
  return {
    at: new Date().toISOString(),
    commit: execFileSync('git', ['describe', '--always', '--dirty']).toString().trim(),
    system: `${type()} ${release()}`,
    cpu: cpus()[0]?.model.trim() ?? 'unknown',
    cores: cpus().length,
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    loadBefore: Number((loadavg()[0] ?? 0).toFixed(2)),
  };
}

export async function versions(): Promise<Record<string, string>> {
  const server = await provideNatsServer();
  const client = JSON.parse(readFileSync('node_modules/nats/package.json', 'utf8')) as { version: string };
  const postgres = execFileSync(join(postgresBinaries(), 'postgres'), ['--version']).toString();
  return {
    node: process.versions.node,
    natsServer: server.version,
    natsClient: client.version,
    postgres: /\d+(\.\d+)*/.exec(postgres)?.[0] ?? postgres.trim(),
  };
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.floor(sorted.length / 2)] as number;
}

/** The value below which the share `q` of them lies. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil(q * sorted.length) - 1)] as number;
}
