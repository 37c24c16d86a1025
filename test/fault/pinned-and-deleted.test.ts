/** What only several machines show of where shards are: a pool that is pinned by label, and an end on a dead node. */
import { connect } from '@spill/node/client';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { query, SOAK, until } from '../support/fault.js';
import { Moves } from '../support/moves.js';
import { startPostgres, type TestPostgres } from '../support/postgres.js';
import { startCluster, type TestCluster } from '../support/spill-cluster.js';

const ACCOUNTS = 200;

let postgres: TestPostgres;
let cluster: TestCluster | null = null;

beforeAll(async () => {
  postgres = await startPostgres();
}, 120_000);

afterEach(() => cluster?.dispose());

afterAll(() => postgres?.stop());

test.skipIf(!SOAK)(
  'a pool is pinned to the node with its label; a shard is deleted, and its node dies meanwhile (npm run soak)',
  { timeout: 300_000 },
  async () => {
    const databaseUrl = await postgres.createDatabase('pinned');
    const database = { connectionString: databaseUrl };
    await query(database, 'CREATE TABLE accounts (id text PRIMARY KEY, balance bigint NOT NULL)');
    await query(database, `INSERT INTO accounts SELECT 'a' || n, 0 FROM generate_series(1, ${ACCOUNTS}) AS n`);
    cluster = await startCluster({
      databaseUrl,
      args: (place) => (place === 0 ? ['--labels', 'disk=fast'] : []),
      env: { SPILL_COOL_DOWN: '1 h', SPILL_POOL_LABELS: 'large:disk=fast' },
    });
    const { nodes, names } = cluster;
    const moves = await Moves.on(cluster.urls());
    const spill = await connect({ servers: cluster.urls().split(','), deadlineMs: 30_000 });
    try {
      const nodeOf = async (shard: number): Promise<string | undefined> =>
        (await moves.topology()).shards.find(({ id }) => id === shard)?.node;
      const [large] = (await moves.topology()).owners.large;
      await until(
        'the pinned pool to be where its label is',
        async () => (await nodeOf(large!.shard)) === 'n1',
        120_000,
      );

      const shard = await moves.createShard('credit');
      await until(
        'slots to have moved there',
        async () => {
          const { owners, migrations } = await moves.topology();
          return migrations.length === 0 && owners.credit.some((range) => range.shard === shard);
        },
        120_000,
      );
      const rows = Array.from({ length: ACCOUNTS }, (_, i) => ({ id: `t${i}`, account: `a${i + 1}`, amount: 5n }));
      for (const { status } of await spill.submit(rows)) expect(status).toMatch(/^(stored|applied)$/);

      const victim = names.indexOf((await nodeOf(shard)) as string);
      expect(await moves.deleteShard(shard)).toBe('closing');
      const node = nodes[victim]!;
      for (const pid of [node.pid, ...Object.values(node.childPids()), node.natsServerPid()])
        process.kill(pid, 'SIGKILL');
      await until(
        'the shard to be retired',
        async () => (await moves.topology()).shards.find(({ id }) => id === shard)?.state === 'retired',
        120_000,
      );
      expect(await nodeOf(shard)).not.toBe(names[victim]);
      for (const { status } of await spill.submit(rows)) expect(status).toBe('duplicate');
      await until('everything to be folded', async () => {
        const { rows: sums } = await query(
          database,
          'SELECT sum(balance)::int AS sum, min(balance)::int AS min FROM accounts',
        );
        return sums[0].sum === ACCOUNTS * 5 && sums[0].min === 5;
      });
    } finally {
      await spill.close();
      await moves.close();
    }
  },
);
