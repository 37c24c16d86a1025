import { OperatorClient } from '@spill/node';
import { connect, type SpillClient, type TransactionInput } from '@spill/node/client';
import pg from 'pg';
import { startPostgres } from '../../test/support/postgres.js';
import { startCluster } from '../../test/support/spill-cluster.js';
import { startNode, type TestNode } from '../../test/support/spill-node.js';
import { Acknowledged } from './acknowledged.js';
import { type Checked, check } from './check.js';
import { closedLoop } from './closed-loop.js';
import type { Measured } from './rounds.js';
import { CONTROL, HOT, Transactions } from './transactions.js';

export interface BedOptions {
  /** Beside the hot one, `a1` and so on. */
  readonly accounts?: number;
  readonly shards?: number;
  /** Further flags of `spill-node start`: what is not the default. */
  readonly args?: readonly string[];
  /** Nodes with a server each, and a replica of each log on all of them. */
  readonly nodes?: 3;
}

const CONTROLS = 100;

/** What README advises where the logs lie on the database's disk, as here. Everything else is PostgreSQL's default. */
const POSTGRES_SETTINGS = { backend_flush_after: '512kB' };

/**
 * Further flags where the number of shards is to stay as it is: bursts with minutes of folds between them are what the
 * planner makes, moves and gives up shards for, and when it does so is chance.
 */
export const FIXED_SHARDS = ['--shard-growth-threshold', '1', '--shard-shrink-threshold', '0.001'];

/** A PostgreSQL, a node (or three) and a client, all of them on this machine and of their own. */
export class Bed {
  readonly acknowledged = new Acknowledged();
  private readonly controls = new Transactions('control-', () => ({ account: CONTROL, amount: 1n }));

  constructor(
    readonly databaseUrl: string,
    readonly sql: pg.Client,
    /** The first of them. */
    readonly node: TestNode,
    readonly spill: SpillClient,
    readonly operator: OperatorClient,
  ) {}

  /** Sends batches through the SDK; each must be stored. */
  async burst(batches: readonly TransactionInput[][], inFlight: number): Promise<Measured> {
    const measured = await closedLoop(batches, batches[0]?.length ?? 0, inFlight, (batch) => this.submit(batch));
    for (const batch of batches) this.acknowledged.add(batch);
    return measured;
  }

  /** A try whose answer was lost is made again, and the answer is `duplicate` then. @throws Error where one is neither. */
  async submit(batch: readonly TransactionInput[]): Promise<void> {
    const results = await this.spill.submit(batch);
    for (const result of results) {
      if (result.status !== 'stored' && result.status !== 'duplicate')
        throw new Error(`not stored: ${JSON.stringify(result)}`);
    }
  }

  /** Resolves once everything acknowledged is in the table. */
  async foldAll(): Promise<void> {
    await this.operator.fold(null, { timeoutMs: 240_000 });
  }

  /**
   * Resolves once all is folded and the database has written what it still kept in memory: otherwise folds and
   * checkpoint take processor and disk from what is measured next, and what that is would be chance.
   */
  async rest(): Promise<void> {
    await this.foldAll();
    await this.sql.query('CHECKPOINT');
  }

  /** Transactions that were folded so far. */
  async folded(): Promise<number> {
    const { rows } = await this.sql.query('SELECT coalesce(sum(folded_count), 0)::int AS count FROM spill.watermark');
    return rows[0].count as number;
  }

  async check(): Promise<Checked> {
    await this.control();
    return check(this);
  }

  /** Some transactions on an account of their own. */
  async control(): Promise<void> {
    await this.burst([this.controls.take(CONTROLS)], 1);
  }
}

/** Starts a bed, does `what` on it, and ends it, whatever comes of it. */
export async function withBed<T>(options: BedOptions, what: (bed: Bed) => Promise<T>): Promise<T> {
  const ends: (() => Promise<unknown>)[] = [];
  try {
    const postgres = await startPostgres({ settings: POSTGRES_SETTINGS });
    ends.push(() => postgres.stop());
    const databaseUrl = await postgres.createDatabase('bench');
    const sql = new pg.Client({ connectionString: databaseUrl });
    await sql.connect();
    ends.push(() => sql.end());
    await sql.query(
      `CREATE TABLE accounts (id text PRIMARY KEY, balance bigint NOT NULL DEFAULT 0);
       INSERT INTO accounts VALUES ('${HOT}'), ('${CONTROL}');
       INSERT INTO accounts SELECT 'a' || n FROM generate_series(1, ${options.accounts ?? 0}) AS n;
       ANALYZE accounts`,
    );
    const { node, servers, dispose } = await startNodes(databaseUrl, options);
    ends.push(dispose);
    const operator = await OperatorClient.connect({ servers });
    ends.push(() => operator.close());
    const spill = await connect({ servers: servers.split(','), deadlineMs: 30_000, via: 'shards' });
    ends.push(() => spill.close());
    const bed = new Bed(databaseUrl, sql, node, spill, operator);
    await bed.control();
    return await what(bed);
  } finally {
    for (const end of ends.reverse()) await end();
  }
}

async function startNodes(
  databaseUrl: string,
  { nodes, shards, args = [] }: BedOptions,
): Promise<{ node: TestNode; servers: string; dispose: () => Promise<void> }> {
  if (nodes) {
    const cluster = await startCluster({ databaseUrl, size: nodes, args: () => args });
    return { node: cluster.nodes[0] as TestNode, servers: cluster.urls(), dispose: cluster.dispose };
  }
  const node = await startNode({
    databaseUrl,
    args: ['--apply-schema', ...args],
    ...(shards !== undefined && { shards }),
  });
  return { node, servers: node.natsUrl, dispose: () => node.dispose() };
}
