/** `verify` on a cluster at work: no false alarm under load, kills and restarts, and the database's every lie is found. */
import type { VerifyReport } from '@spill/node';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { childPid, databaseWithAccounts, PREFIXES, prefixOf, query } from '../support/fault.js';
import { startLoad } from '../support/load.js';
import { askOperator, LoadClient } from '../support/load-client.js';
import { startPostgres, type TestPostgres } from '../support/postgres.js';
import { newSeed, Random } from '../support/random.js';
import { startNode, type TestNode } from '../support/spill-node.js';

// biome-ignore lint/suspicious/noUndeclaredEnvVars: turbo does not run the tests.
const SOAK = process.env.SOAK === '1';
const LOOKS = SOAK ? 20 : 3;
/** The whole log is read each time, and it grows while hundreds of clients send and shards are killed. */
const VERIFY_MS = SOAK ? 300_000 : 60_000;

let postgres: TestPostgres;
let node: TestNode | null = null;

beforeAll(async () => {
  postgres = await startPostgres({ fsync: false });
});

afterEach(async () => {
  await node?.dispose();
  node = null;
});

afterAll(() => postgres.stop());

const RIGHT = { lost: 0, duplicated: 0, mismatched: 0, damaged: 0, drift: 0, ok: true };

describe('verify', () => {
  test('under load', { timeout: 60_000 + LOOKS * 60_000 }, async () => {
    const databaseUrl = await databaseWithAccounts(postgres, 'verify_live', PREFIXES);
    const connection = { connectionString: databaseUrl };
    node = await startNode({ databaseUrl, args: ['--apply-schema'] });
    const client = await LoadClient.open(node.natsUrl);
    const verify = (): Promise<VerifyReport> => askOperator(client.nc, 'spill.supervisor.verify', {}, VERIFY_MS);
    try {
      const seed = newSeed('verify under load');
      const random = new Random(seed);
      const load = await startLoad({ natsUrl: node.natsUrl, seed, prefix: prefixOf(1) });
      await load.flows();
      let checked = 0;
      for (let look = 0; look < LOOKS; look++) {
        if (look % 2 === 1) process.kill(await childPid(node, `shard-${random.int(1, 3)}`), 'SIGKILL');
        const report = await verify();
        expect(report, JSON.stringify(report.examples)).toMatchObject(RIGHT);
        expect(report.checked).toBeGreaterThan(checked);
        checked = report.checked;
        await load.flows();
      }
      await load.finish();
      await askOperator(client.nc, 'spill.supervisor.fold', {}, VERIFY_MS);

      const quiet = await verify();
      expect(quiet, JSON.stringify(quiet.examples)).toMatchObject({ ...RIGHT, pending: 0 });
      const { rows } = await query(
        connection,
        `SELECT account, id FROM spill.ledger WHERE shard IS NOT NULL AND state = 'applied' ORDER BY sequence, record_index LIMIT 3`,
      );
      const [gone, changed, drifted] = rows as [
        { account: string; id: string },
        { account: string; id: string },
        { account: string },
      ];
      await query(connection, 'DELETE FROM spill.ledger WHERE account = $1 AND id = $2', [gone.account, gone.id]);
      await query(connection, 'UPDATE spill.ledger SET amount = amount + 7 WHERE account = $1 AND id = $2', [
        changed.account,
        changed.id,
      ]);
      await query(connection, 'UPDATE accounts SET balance = balance + 1 WHERE id = $1', [drifted.account]);
      const report = await verify();
      expect(report).toMatchObject({ lost: 1, mismatched: 1, duplicated: 0, damaged: 0, ok: false });
      expect(report.examples.lost[0]).toMatchObject(gone);
      expect(report.examples.mismatched[0]).toMatchObject(changed);
      expect(report.drift).toBeGreaterThan(0);
      const named = await askOperator<VerifyReport>(client.nc, 'spill.supervisor.verify', { accounts: [gone.account] });
      expect(named).toMatchObject({ ok: false });
      expect(named.examples.lost[0]).toMatchObject(gone);
    } finally {
      await client.close();
    }
  });
});
