import { existsSync, readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { findEmbeddedDatabase } from '@spill/node';
import pg from 'pg';
import { type CompareOptions, compareWithModel } from './compare.js';
import { LARGE_THRESHOLD, type Load, type LoadOptions, loadAccounts, startLoad } from './load.js';
import { LoadModel } from './load-model.js';
import type { TestPostgres } from './postgres.js';
import { newSeed, Random } from './random.js';
import type { TestNode } from './spill-node.js';

// biome-ignore lint/suspicious/noUndeclaredEnvVars: turbo does not run the tests.
export const SOAK = process.env.SOAK === '1';
/** Of each fault: a few in `npm test`, twenty in `npm run soak`. */
export const ROUNDS = SOAK ? 20 : 2;
/** Of those that take long: what differs from round to round is the seed, and that each run has of its own. */
export const LONG_ROUNDS = SOAK ? 20 : 1;

/** Of what the node has said, where a round fails. */
const LINES_SHOWN = 100;

export async function until(what: string, holds: () => boolean | Promise<boolean>, waitMs = 60_000): Promise<void> {
  const end = performance.now() + waitMs;
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`not within ${waitMs / 1_000} s: ${what}`);
    await delay(25);
  }
}

export function isRunning(pid: number): boolean {
  return existsSync(`/proc/${pid}`) && !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
}

/** The pid of a child (`router`, `shard-1`), once there is one. */
export async function childPid(node: TestNode, name: string): Promise<number> {
  let pid = 0;
  await until(`a process ${name}`, () => {
    pid = node.childPids()[name] ?? 0;
    return pid !== 0 && isRunning(pid);
  });
  return pid;
}

export async function query(connection: pg.PoolConfig, text: string, values?: unknown[]): Promise<pg.QueryResult> {
  const client = new pg.Client(connection);
  await client.connect();
  try {
    return await client.query(text, values);
  } finally {
    await client.end();
  }
}

/** A database with a row for each account that loads of these prefixes send to. */
export async function databaseWithAccounts(
  postgres: TestPostgres,
  name: string,
  prefixes: readonly string[],
): Promise<string> {
  const url = await postgres.createDatabase(name);
  await createAccounts({ connectionString: url }, prefixes);
  return url;
}

export async function createAccounts(connection: pg.PoolConfig, prefixes: readonly string[]): Promise<void> {
  await query(connection, 'CREATE TABLE IF NOT EXISTS accounts (id text PRIMARY KEY, balance bigint NOT NULL)');
  await query(connection, 'INSERT INTO accounts SELECT unnest($1::text[]), 0', [loadAccounts(prefixes)]);
}

/** How a node's database is reached: the one it was given, or its embedded one. */
export function connectionOf(node: TestNode, databaseUrl?: string): pg.PoolConfig {
  if (databaseUrl) return { connectionString: databaseUrl };
  const connection = findEmbeddedDatabase(node.dataDir);
  if (!connection) throw new Error('the node has no embedded database');
  return connection;
}

export function prefixOf(round: number): string {
  return `r${round}-`;
}

export const PREFIXES = Array.from({ length: ROUNDS }, (_, i) => prefixOf(i + 1));

export interface RoundContext {
  readonly load: Load;
  readonly random: Random;
  readonly round: number;
}

export interface Rounds extends Omit<CompareOptions, 'natsUrl' | 'model' | 'connection'> {
  readonly what: string;
  readonly node: TestNode;
  readonly databaseUrl?: string;
  readonly load?: Partial<LoadOptions>;
  readonly rounds?: number;
  /** Does its harm while the load goes on. Returns when transactions flow again. */
  readonly harm: (context: RoundContext) => Promise<void>;
}

/**
 * Round after round on one node: load, harm, load, and at the end of each a comparison of everything since the first
 * one with what the clients were told.
 */
export async function inRounds(rounds: Rounds): Promise<LoadModel> {
  try {
    return await runRounds(rounds);
  } catch (error) {
    process.stderr.write(`${rounds.node.stderr().split('\n').slice(-LINES_SHOWN).join('\n')}\n`);
    throw error;
  }
}

async function runRounds(rounds: Rounds): Promise<LoadModel> {
  const { what, node, databaseUrl, harm } = rounds;
  const model = new LoadModel(rounds.load?.largeThreshold ?? LARGE_THRESHOLD);
  for (let round = 1; round <= (rounds.rounds ?? ROUNDS); round++) {
    const began = performance.now();
    const seed = newSeed(`${what}, round ${round}`);
    const load = await startLoad({ natsUrl: node.natsUrl, ...rounds.load, seed, model, prefix: prefixOf(round) });
    await load.flows();
    await harm({ load, random: new Random(seed + 1), round });
    await load.finish();
    if (load.inFlightMax < 1_000) throw new Error(`only ${load.inFlightMax} transactions were in flight`);
    const connection = connectionOf(node, databaseUrl);
    const compared = await compareWithModel({ ...rounds, natsUrl: node.natsUrl, model, connection });
    const took = Math.round(performance.now() - began);
    const answers = JSON.stringify(Object.fromEntries(model.answers));
    process.stderr.write(
      `  ${took} ms, ${load.inFlightMax} in flight, ${load.balancesRead} balances, ${JSON.stringify(compared)}, ${answers}\n`,
    );
  }
  return model;
}
