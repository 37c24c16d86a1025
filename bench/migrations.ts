/**
 * Slots that move: what clients of these slots notice, what everybody else notices, how long a million known ids take,
 * and what routing costs as shards and migrations become many. Ends by folding everything, comparing every row with what
 * was acknowledged, and `verify`.
 *
 *   npm run bench -- migrations [--moves 20] [--seconds 600] [--rate 32000] [--known 1000000] [--part load|known|routing]
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { parseArgs } from 'node:util';
import { SLOT_COUNT, slotOf } from '@spill/core';
import type { VerifyReport } from '@spill/node';
import { connect, type SpillClient } from '@spill/node/client';
import { connect as connectNats } from 'nats';
import pg from 'pg';
import { askOperator } from '../test/support/load-client.js';
import { Moves } from '../test/support/moves.js';
import { startPostgres } from '../test/support/postgres.js';
import { startNode, type TestNode } from '../test/support/spill-node.js';
import { machine, median, quantile } from './support/machine.js';
import { type RouteCost, routeCosts } from './support/route-cost.js';
import { type LoadGroup, type Span, SteadyLoad } from './support/steady-load.js';

const { values } = parseArgs({
  options: {
    moves: { type: 'string', default: '20' },
    rate: { type: 'string', default: '32000' },
    /** On a slow machine: no move begins after so long. */
    seconds: { type: 'string', default: '600' },
    known: { type: 'string', default: '1000000' },
    /** Only this one; what another run found of the others stays in the results. */
    part: { type: 'string' },
  },
});
const movesWanted = Number(values.moves);
const seconds = Number(values.seconds);
const rate = Number(values.rate);
const known = Number(values.known);

/** Most of a pool's slots move, there and back. Those that stay, and another pool, get a little load as well. */
const MOVING_SLOTS = 640;
const STAYING_SLOTS_TO = 1_000;
const MOVING = [{ from: 0, to: MOVING_SLOTS }];
const ACCOUNTS = 200;
const STAYING_RATE = 4_000;
/** Between two moves, for comparison. */
const QUIET_MS = 1_500;
const WARM_UP_MS = 5_000;
const KNOWN_MOVES = 3;

/** For the planner nothing here is busy or idle. */
const NO_PLANS = {
  SPILL_COOL_DOWN: '24 h',
  SPILL_SHARD_GROWTH_THRESHOLD: '1',
  SPILL_SHARD_SHRINK_THRESHOLD: '0.00001',
};

const accounts = Array.from({ length: 4 * ACCOUNTS }, (_, i) => `account-${i}`);
const moving = accounts.filter((account) => slotOf(account) < MOVING_SLOTS).slice(0, ACCOUNTS);
const staying = accounts
  .filter((account) => slotOf(account) >= MOVING_SLOTS && slotOf(account) < STAYING_SLOTS_TO)
  .slice(0, ACCOUNTS);

interface Cluster {
  readonly node: TestNode;
  readonly moves: Moves;
  readonly spill: SpillClient;
  /** Further shards of credit, beside shard 1. */
  readonly others: readonly number[];
}

interface Move {
  readonly committed: boolean;
  /** From the entry in the topology until it has left it. */
  readonly tookMs: number;
  /** Longest latency of a client of the slots around the cut-over, less the median one while nothing moves. */
  readonly pauseMs: number;
  /** The same over the whole move, the copying included; and of clients of the slots that stay with the same shard. */
  readonly longestMs: number;
  readonly othersLongestMs: number;
}

const RESULTS = new URL('./results/', import.meta.url);
const parts: Record<string, () => unknown> = {
  load: () => inCluster({ SPILL_DEDUPE_WINDOW: '15 s' }, 1, moveUnderLoad),
  known: () => inCluster({ SPILL_MAX_PAUSE_MS: '1000' }, KNOWN_MOVES, moveMany),
  routing: () => show(routeCosts()),
};
for (const [part, measure] of Object.entries(parts)) {
  if (values.part !== undefined && values.part !== part) continue;
  keep({ [part]: { machine: machine(), sync: 'always', figures: await measure() } });
}

function keep(part: object): void {
  const file = new URL('migrations.json', RESULTS);
  mkdirSync(RESULTS, { recursive: true });
  const before = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : {};
  writeFileSync(file, `${JSON.stringify({ ...before, ...part }, null, 2)}\n`);
}

/** A cluster with further shards of credit, which its planner leaves alone; at the end everything in it is compared. */
async function inCluster<T>(
  env: Record<string, string>,
  further: number,
  measure: (cluster: Cluster) => Promise<{ result: T; acknowledged: ReadonlyMap<string, bigint> }>,
): Promise<T> {
  const ends: (() => Promise<unknown>)[] = [];
  try {
    const postgres = await startPostgres();
    ends.push(() => postgres.stop());
    const databaseUrl = await postgres.createDatabase('bench');
    const sql = new pg.Client({ connectionString: databaseUrl });
    await sql.connect();
    ends.push(() => sql.end());
    await sql.query('CREATE TABLE accounts (id text PRIMARY KEY, balance bigint NOT NULL)');
    await sql.query('INSERT INTO accounts SELECT unnest($1::text[]), 0', [accounts]);
    const node = await startNode({ databaseUrl, args: ['--apply-schema'], env: { ...NO_PLANS, ...env } });
    ends.push(() => node.dispose());
    const moves = await Moves.on(node.natsUrl);
    ends.push(() => moves.close());
    const spill = await connect({ servers: node.natsUrl, deadlineMs: 30_000 });
    ends.push(() => spill.close());
    const others: number[] = [];
    while (others.length < further) {
      const shard = await moves.createShard('credit');
      others.push(shard);
      // One that owns no slot would be given some.
      const slot = SLOT_COUNT - others.length;
      const id = await moves.begin('credit', shard, [{ from: slot, to: slot + 1 }]);
      if (!(await moves.ended(id, 'credit', shard))) throw new Error(`shard ${shard} got no slot`);
    }
    const { result, acknowledged } = await measure({ node, moves, spill, others });
    await moves.settled();
    await compare(node, sql, acknowledged);
    return result;
  } finally {
    for (const end of ends.reverse()) await end();
  }
}

async function moveUnderLoad({ node, moves, spill, others }: Cluster) {
  const groups: LoadGroup[] = [
    { name: 'moving', accounts: moving, rate, amount: 5n },
    { name: 'staying', accounts: staying, rate: STAYING_RATE / 2, amount: 5n },
    { name: 'debit', accounts: [...moving, ...staying], rate: STAYING_RATE / 2, amount: -3n },
  ];
  const load = new SteadyLoad(spill, groups, 'steady-');
  load.start();
  await delay(WARM_UP_MS);
  const quiet: Span[] = [];
  const busy: { span: Span; cutOver: Span; committed: boolean }[] = [];
  const now = (): number => performance.now();
  const until = now() + seconds * 1_000;
  for (let i = 0; i < movesWanted && now() < until; i++) {
    const restedFrom = now();
    await delay(QUIET_MS);
    quiet.push({ from: restedFrom, to: now() });
    const to = i % 2 === 0 ? (others[0] as number) : 1;
    const from = now();
    const id = await moves.begin('credit', to, MOVING);
    await moves.ended(id, 'credit', to);
    const { owners } = await moves.topology();
    const committed = owners.credit[0]?.shard === to;
    const span = { from, to: now() };
    busy.push({ span, cutOver: cutOverOf(node.stderr(), id), committed });
    console.log(`${committed ? 'moved' : 'not moved'} in ${ms(span.to - from)}`);
    if (!committed) i -= 1;
    if (busy.length > 3 * movesWanted) throw new Error(`of ${busy.length} migrations, ${i} were committed`);
  }
  await load.stop();
  const normal = Object.fromEntries(
    groups.map(({ name }) => [name, median(quiet.flatMap((span) => load.latencies(name, span)))]),
  );
  const longest = (group: string, span: Span): number =>
    (load.latencies(group, span).at(-1) as number) - (normal[group] as number);
  const all = busy.map(
    ({ span, cutOver, committed }): Move => ({
      committed,
      tookMs: span.to - span.from,
      pauseMs: longest('moving', cutOver),
      longestMs: longest('moving', span),
      othersLongestMs: longest('staying', span),
    }),
  );
  const quietRate = load.rate(quiet);
  const movingRate = load.rate(busy.map(({ span }) => span));
  const spread = (figures: readonly number[]) => ({
    median: quantile(figures, 0.5),
    nineOfTen: quantile(figures, 0.9),
  });
  const result = {
    rate,
    quietRate,
    movingRate,
    throughputRatio: movingRate / quietRate,
    normalLatencyMs: normal,
    // One that was given up before its seal made none.
    pauseMs: spread(all.map(({ pauseMs }) => pauseMs).filter((pause) => !Number.isNaN(pause))),
    longestMs: spread(all.map(({ longestMs }) => longestMs)),
    othersLongestMs: spread(all.map(({ othersLongestMs }) => othersLongestMs)),
    /** Where nothing moves: what the machine does by itself. */
    quietLongestMs: spread(quiet.map((span) => longest('moving', span))),
    tookMs: spread(all.map(({ tookMs }) => tookMs)),
    aborted: all.filter(({ committed }) => !committed).length,
    sealToCommitMs: spread([...node.stderr().matchAll(/commit, (\d+) ms after/g)].map(([, took]) => Number(took))),
    moves: all,
  };
  console.log(
    `${all.length} moves of slots with ${rate}/s, ${result.aborted} aborted; median and nine of ten: ` +
      `pause ${both(result.pauseMs)}, longest latency of the whole move ${both(result.longestMs)}, ` +
      `of slots that stay ${both(result.othersLongestMs)}, while nothing moves ${both(result.quietLongestMs)}; ` +
      `seal to commit ${both(result.sealToCommitMs)}; a move took ${both(result.tookMs)}; ` +
      `throughput ${Math.round(movingRate)}/s, while nothing moves ${Math.round(quietRate)}/s`,
  );
  return { result, acknowledged: load.acknowledged };
}

/** From the first seal of a migration until its outcome is to be settled, as the supervisor's log tells it. */
function cutOverOf(log: string, id: number): Span {
  const steps = [...log.matchAll(new RegExp(`^(\\S+) \\S+ +migration ${id} \\(.*\\): (seal|settle)$`, 'gm'))];
  const at = (step: string): number =>
    Date.parse(steps.find(([, , name]) => name === step)?.[1] ?? '') - performance.timeOrigin;
  return { from: at('seal'), to: at('settle') };
}

/** Slots whose ids are all known: no load, and everything folded, so that the copy alone is timed. */
async function moveMany({ node, moves, spill, others }: Cluster) {
  const acknowledged = new Map<string, bigint>();
  const batch = 1_000;
  let sent = 0;
  const worker = async (): Promise<void> => {
    while (sent < known) {
      const first = sent;
      sent += batch;
      const transactions = Array.from({ length: batch }, (_, i) => ({
        id: `many-${first + i}`,
        account: moving[(first + i) % moving.length] as string,
        amount: 7n,
      }));
      for (const [i, result] of (await spill.submit(transactions)).entries()) {
        if (result.status !== 'stored') throw new Error(`not stored: ${JSON.stringify(result)}`);
        const { account } = transactions[i] as (typeof transactions)[number];
        acknowledged.set(account, (acknowledged.get(account) ?? 0n) + 7n);
      }
    }
  };
  await Promise.all(Array.from({ length: 8 }, worker));
  await fold(node);
  const knownMoveMs: number[] = [];
  // Each time to a shard that does not know them yet.
  for (const to of others) {
    const began = performance.now();
    const id = await moves.begin('credit', to, MOVING);
    await moves.ended(id, 'credit', to);
    if ((await moves.topology()).owners.credit[0]?.shard !== to)
      throw new Error(`the move of ${known} ids was aborted`);
    knownMoveMs.push(performance.now() - began);
  }
  console.log(`moves of ${known} known ids took ${knownMoveMs.map(ms).join(', ')}`);
  return { result: { known, knownMoveMs }, acknowledged };
}

async function fold(node: TestNode): Promise<void> {
  const nc = await connectNats({ servers: node.natsUrl });
  await askOperator(nc, 'spill.supervisor.fold', {}, 300_000);
  await nc.close();
}

async function compare(node: TestNode, sql: pg.Client, acknowledged: ReadonlyMap<string, bigint>): Promise<void> {
  await fold(node);
  const { rows } = await sql.query<{ id: string; balance: string }>('SELECT id, balance FROM accounts');
  for (const { id, balance } of rows) {
    if (BigInt(balance) !== (acknowledged.get(id) ?? 0n)) {
      throw new Error(`the row of ${id} holds ${balance}, acknowledged were ${acknowledged.get(id)}`);
    }
  }
  const nc = await connectNats({ servers: node.natsUrl });
  const report = await askOperator<VerifyReport>(nc, 'spill.supervisor.verify', {}, 300_000);
  await nc.close();
  if (!report.ok) throw new Error(`verify found: ${JSON.stringify(report)}`);
  console.log(`every row is right, and verify found nothing wrong with ${report.checked} transactions`);
}

function show(routing: readonly RouteCost[]): readonly RouteCost[] {
  for (const { shardsAPool, draining, routeNs, explainNs, tableUs, holdersUs } of routing) {
    console.log(
      `${shardsAPool} shards a pool, ${draining} draining: ${routeNs} ns a transaction (${explainNs} ns by the document), ` +
        `${tableUs} us a new topology, ${holdersUs} us for the shards of a read`,
    );
  }
  return routing;
}

function both({ median: half, nineOfTen }: { median: number; nineOfTen: number }): string {
  return `${ms(half)} and ${ms(nineOfTen)}`;
}

function ms(value: number): string {
  return `${value.toFixed(value < 100 ? 1 : 0)} ms`;
}
