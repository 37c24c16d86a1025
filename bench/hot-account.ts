/**
 * One hot account: durable transactions a second through spill's SDK, against PostgreSQL alone, in turn in one run.
 * Ends by folding everything and comparing the row with the sum of what was acknowledged.
 *
 *   npm run bench -- hot-account [--rounds 3] [--seconds 5] [--batch 1000] [--in-flight 16]
 */
import { mkdirSync, writeFileSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { connect } from '@spill/node/client';
import { connect as connectNats } from 'nats';
import pg from 'pg';
import { startPostgres } from '../test/support/postgres.js';
import { startNode } from '../test/support/spill-node.js';
import { machine, median } from './support/machine.js';
import { hotRow } from './support/pgbench.js';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '3' },
    seconds: { type: 'string', default: '5' },
    batch: { type: 'string', default: '1000' },
    'in-flight': { type: 'string', default: '16' },
  },
});
const rounds = Number(values.rounds);
const seconds = Number(values.seconds);
const batch = Number(values.batch);
const inFlight = Number(values['in-flight']);
const PGBENCH_CLIENTS = 32;

interface Round {
  readonly spill: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  readonly postgres: number;
  readonly ratio: number;
}

const postgres = await startPostgres();
const url = await postgres.createDatabase('bench');
const sql = new pg.Client({ connectionString: url });
await sql.connect();
await sql.query(
  "CREATE TABLE accounts (id text PRIMARY KEY, balance bigint NOT NULL DEFAULT 0); INSERT INTO accounts VALUES ('hot', 0)",
);
const node = await startNode({ databaseUrl: url, args: ['--apply-schema'] });
const spill = await connect({ servers: node.natsUrl, deadlineMs: 30_000 });
let acknowledged = 0n;
let nextId = 0;

/** Batches of ready transactions, `inFlight` at once, for some seconds. */
async function throughSpill(): Promise<Pick<Round, 'spill' | 'p50Ms' | 'p99Ms'>> {
  const latencies: number[] = [];
  const started = performance.now();
  let stored = 0;
  const worker = async (): Promise<void> => {
    while (performance.now() - started < seconds * 1000) {
      const transactions = Array.from({ length: batch }, () => ({
        id: `bench-${nextId++}`,
        account: 'hot',
        amount: 5n,
      }));
      const sent = performance.now();
      for (const result of await spill.submit(transactions)) {
        if (result.status !== 'stored') throw new Error(`not stored: ${JSON.stringify(result)}`);
        stored += 1;
      }
      latencies.push(performance.now() - sent);
    }
  };
  await Promise.all(Array.from({ length: inFlight }, worker));
  const elapsed = (performance.now() - started) / 1000;
  acknowledged += BigInt(stored) * 5n;
  latencies.sort((a, b) => a - b);
  const at = (quantile: number): number => latencies[Math.floor(quantile * (latencies.length - 1))] as number;
  return { spill: stored / elapsed, p50Ms: at(0.5), p99Ms: at(0.99) };
}

async function foldAll(): Promise<number> {
  const nc = await connectNats({ servers: node.natsUrl });
  const started = performance.now();
  await nc.request('spill.supervisor.fold', '{}', { timeout: 300_000 });
  await nc.close();
  return (performance.now() - started) / 1000;
}

const results: Round[] = [];
try {
  await throughSpill();
  await foldAll();
  for (let round = 0; round < rounds; round++) {
    const through = await throughSpill();
    const foldSeconds = await foldAll();
    const plain = await hotRow(url, seconds, PGBENCH_CLIENTS);
    results.push({ ...through, postgres: plain, ratio: through.spill / plain });
    console.log(
      `round ${round + 1}: spill ${Math.round(through.spill)}/s (p50 ${through.p50Ms.toFixed(1)} ms, p99 ${through.p99Ms.toFixed(1)} ms), ` +
        `PostgreSQL ${Math.round(plain)}/s, ratio ${Math.round(through.spill / plain)}; folded the rest in ${foldSeconds.toFixed(1)} s`,
    );
  }
  const { rows } = await sql.query("SELECT balance FROM accounts WHERE id = 'hot'");
  if (BigInt(rows[0].balance) !== acknowledged) {
    throw new Error(`the row holds ${rows[0].balance}, acknowledged were ${acknowledged}`);
  }
  const summary = {
    machine: machine(),
    sync: 'always',
    batch,
    inFlight,
    spill: median(results.map((round) => round.spill)),
    p50Ms: median(results.map((round) => round.p50Ms)),
    p99Ms: median(results.map((round) => round.p99Ms)),
    postgres: median(results.map((round) => round.postgres)),
    ratio: median(results.map((round) => round.ratio)),
    rounds: results,
  };
  mkdirSync(new URL('./results/', import.meta.url), { recursive: true });
  writeFileSync(new URL('./results/hot-account.json', import.meta.url), `${JSON.stringify(summary, null, 2)}\n`);
  console.log(
    `median: ${Math.round(summary.spill)}/s, ${Math.round(summary.ratio)} times PostgreSQL's hot row; the row is right`,
  );
} finally {
  await spill.close();
  await sql.end();
  await node.dispose();
  await postgres.stop();
}
