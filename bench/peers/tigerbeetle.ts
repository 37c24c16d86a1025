import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { freePort } from '../../packages/node/dist/nats/free-port.js';
import { forSeconds } from '../support/closed-loop.js';
import { leftOut, type Peer } from './peer.js';

/** As many as one of its messages holds. */
const BATCH = 8_190;
const IN_FLIGHT = 4;
const SECONDS = 2;
const HOT = 1n;
const OTHER = 2n;

/** What is used of `tigerbeetle-node`, which is no dependency: install it beside the binary that TIGERBEETLE names. */
interface TigerBeetle {
  createClient(args: { cluster_id: bigint; replica_addresses: string[] }): Client;
  id(): bigint;
}

interface Client {
  createAccounts(batch: object[]): Promise<unknown>;
  createTransfers(batch: object[]): Promise<unknown>;
  lookupAccounts(ids: bigint[]): Promise<{ credits_posted: bigint }[]>;
  destroy(): void;
}

const NAMES = {
  peer: 'TigerBeetle',
  what: `TigerBeetle, one replica, transfers to one account in batches of ${BATCH.toLocaleString('en-US')}, ${IN_FLIGHT} in flight, its own client`,
};

/** Where TIGERBEETLE names its binary and its client is installed; else a peer that is left out. */
export async function tigerBeetlePeer(): Promise<Peer> {
  // biome-ignore lint/suspicious/noUndeclaredEnvVars: turbo does not run the benchmarks.
  const binary = process.env.TIGERBEETLE;
  if (!binary) return leftOut(NAMES, 'TIGERBEETLE does not name its binary');
  const library = await load();
  if (!library) return leftOut(NAMES, 'its client tigerbeetle-node is not installed');
  const folder = mkdtempSync(join(tmpdir(), 'spill-tigerbeetle-'));
  const file = join(folder, '0_0.tigerbeetle');
  const port = String(await freePort());
  execFileSync(binary, ['format', '--cluster=0', '--replica=0', '--replica-count=1', file], { stdio: 'pipe' });
  const server = spawn(binary, ['start', `--addresses=${port}`, file], { stdio: ['ignore', 'ignore', 'inherit'] });
  const exit = once(server, 'exit');
  process.once('exit', () => server.kill('SIGKILL'));
  // The client waits until the server is there.
  const client = library.createClient({ cluster_id: 0n, replica_addresses: [port] });
  await client.createAccounts([HOT, OTHER].map(account));
  let sent = 0;
  return {
    ...NAMES,
    missing: null,
    measure: async () => {
      const measured = await forSeconds(SECONDS, IN_FLIGHT, () =>
        client.createTransfers(Array.from({ length: BATCH }, () => transfer(library.id()))),
      );
      sent += measured.sent * BATCH;
      const [hot] = await client.lookupAccounts([HOT]);
      if (hot?.credits_posted !== BigInt(sent) * 5n) {
        throw new Error(`TigerBeetle holds ${hot?.credits_posted}, sent were ${sent * 5}`);
      }
      return { value: measured.value * BATCH };
    },
    close: async () => {
      client.destroy();
      server.kill('SIGKILL');
      await exit;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

async function load(): Promise<TigerBeetle | null> {
  const name = 'tigerbeetle-node';
  try {
    return (await import(/* @vite-ignore */ name)) as TigerBeetle;
  } catch (error) {
    if (!/Cannot find|Failed to load|ERR_MODULE_NOT_FOUND/.test(String(error))) throw error;
    return null;
  }
}

const unused = { user_data_128: 0n, user_data_64: 0n, user_data_32: 0, ledger: 1, code: 1, flags: 0, timestamp: 0n };

const account = (id: bigint): object => ({
  ...unused,
  id,
  debits_pending: 0n,
  debits_posted: 0n,
  credits_pending: 0n,
  credits_posted: 0n,
  reserved: 0,
});

const transfer = (id: bigint): object => ({
  ...unused,
  id,
  debit_account_id: OTHER,
  credit_account_id: HOT,
  amount: 5n,
  pending_id: 0n,
  timeout: 0,
});
