import { OperatorClient } from '@spill/node';
import type { TransactionInput } from '@spill/node/client';
import { ErrorCode, type NatsError } from 'nats';
import pidusage from 'pidusage';
import { afterEach, describe, expect, onTestFailed, test } from 'vitest';
import { childPid, query, until } from '../support/fault.js';
import { withFoldsHeld } from '../support/hold-folds.js';
import { startPostgres, type TestPostgres } from '../support/postgres.js';
import { bodyOf, RawClient, type RawResult, resultsOf } from '../support/raw-client.js';
import { startNode, type TestNode } from '../support/spill-node.js';

const MIB = 2 ** 20;
const PENDING_BYTES_MAX = MIB;
const BATCH = 1_000;
const BATCHES = 200;
const IN_FLIGHT = 16;
/** What requests in flight may add once the bound is reached: some 40 bytes a transaction. */
const OVER_BYTES_MAX = IN_FLIGHT * BATCH * 40;
const GROWTH_BYTES_MAX = 128 * MIB;

let postgres: TestPostgres | null = null;
let node: TestNode | null = null;
let client: RawClient | null = null;
let operator: OperatorClient | null = null;

afterEach(async () => {
  await client?.close();
  await operator?.close();
  await node?.dispose();
  await postgres?.stop();
});

const transaction = (place: number): TransactionInput => ({ account: 'hot', id: `t${place}`, amount: 1 + (place % 9) });
const sumOf = (transactions: readonly TransactionInput[]): number =>
  transactions.reduce((sum, { amount }) => sum + Number(amount), 0);

/** A router that a busy machine keeps from its heartbeats is replaced; what was with it is sent again. */
const DEADLINE_MS = 10_000;

/** Submits one batch, again where nobody answered, and sorts it by its answers. */
async function submit(
  batch: readonly TransactionInput[],
): Promise<{ stored: TransactionInput[]; refused: RawResult[] }> {
  let body: Uint8Array | null = null;
  await until('an answer', async () => {
    body = await client!.send(bodyOf(batch, 'messagepack')).catch((error: NatsError) => {
      if (error.code !== ErrorCode.Timeout && error.code !== ErrorCode.NoResponders) throw error;
      return null;
    });
    return body !== null;
  });
  const results = resultsOf(body!, 'messagepack', batch);
  const isStored = (result: RawResult | undefined): boolean =>
    result?.status === 'stored' || result?.status === 'duplicate';
  return {
    stored: batch.filter((_, i) => isStored(results[i])),
    refused: results.filter((result) => !isStored(result)),
  };
}

describe('more than can be folded', () => {
  test('is told overloaded and when to come back; what waits is bounded, and nothing of it is lost', {
    timeout: 180_000,
  }, async () => {
    postgres = await startPostgres();
    const databaseUrl = await postgres.createDatabase('overload');
    const connection = { connectionString: databaseUrl };
    await query(connection, `CREATE TABLE accounts (id text PRIMARY KEY, balance bigint NOT NULL)`);
    await query(connection, `INSERT INTO accounts VALUES ('hot', 0)`);
    node = await startNode({ databaseUrl, args: ['--apply-schema', '--pending-bytes-max', String(PENDING_BYTES_MAX)] });
    const { stderr } = node;
    onTestFailed(() => {
      process.stderr.write(stderr());
    });
    client = await RawClient.open(node.natsUrl, DEADLINE_MS);
    operator = await OperatorClient.connect({ servers: node.natsUrl });
    const pids = [await childPid(node, 'shard-1'), await childPid(node, 'router')];
    const memory = async (): Promise<number[]> => Promise.all(pids.map(async (pid) => (await pidusage(pid)).memory));
    const all = Array.from({ length: BATCH * BATCHES }, (_, place) => transaction(place));
    await submit(all.slice(0, BATCH));
    const memoryBefore = await memory();
    const stored: TransactionInput[] = [];
    const refused: RawResult[] = [];
    let next = BATCH;
    const worker = async (): Promise<void> => {
      while (next < all.length) {
        const batch = all.slice(next, next + BATCH);
        next += BATCH;
        const answers = await submit(batch);
        stored.push(...answers.stored);
        refused.push(...answers.refused);
      }
    };
    await withFoldsHeld(databaseUrl, async () => {
      await Promise.all(Array.from({ length: IN_FLIGHT }, worker));

      expect(refused.length).toBeGreaterThan(all.length / 2);
      const otherwise = refused.filter(
        ({ status, error }) => !(status === 'rejected' && error?.code === 'overloaded' && error.retry_after_ms! > 0),
      );
      expect(otherwise).toEqual([]);
      // Measured each second.
      const pendingBytes = async (): Promise<number> => {
        const { shards } = await operator!.performance({ timeoutMs: 10_000 });
        return shards.find(({ shard }) => shard === 1)?.pending_bytes ?? 0;
      };
      await until('the backlog is full', async () => (await pendingBytes()) > PENDING_BYTES_MAX);
      expect(await pendingBytes()).toBeLessThan(PENDING_BYTES_MAX + OVER_BYTES_MAX);
      const memoryAfter = await memory();
      for (const [i, bytes] of memoryAfter.entries()) {
        expect(bytes - (memoryBefore[i] as number)).toBeLessThan(GROWTH_BYTES_MAX);
      }

      // What was refused is not there, what was stored is, also for readers.
      const asked = await client!.ask('spill.balance.get', { account: 'hot' });
      expect(asked).toMatchObject({ balance: String(sumOf(all.slice(0, BATCH)) + sumOf(stored)) });
    });
    await operator.fold(null, { timeoutMs: 60_000 });

    // And everything gets in that comes again.
    const known = new Set(stored.map(({ id }) => id));
    let open = all.slice(BATCH).filter(({ id }) => !known.has(id));
    await until('everything is stored', async () => {
      const again: TransactionInput[] = [];
      for (let from = 0; from < open.length; from += BATCH) {
        const batch = open.slice(from, from + BATCH);
        const answers = await submit(batch);
        const inside = new Set(answers.stored.map(({ id }) => id));
        again.push(...batch.filter(({ id }) => !inside.has(id)));
      }
      open = again;
      return open.length === 0;
    });
    await operator.fold(null, { timeoutMs: 60_000 });
    const { rows } = await query(
      connection,
      `SELECT (SELECT balance FROM accounts)::int AS balance, count(*)::int AS count, sum(amount)::int AS sum FROM spill.ledger`,
    );
    expect(rows[0]).toEqual({ balance: sumOf(all), count: all.length, sum: sumOf(all) });
    const verify = await operator.verify(null, { timeoutMs: 60_000 });
    expect(verify).toMatchObject({ lost: 0, duplicated: 0, mismatched: 0, damaged: 0, conflicts: 0, drift: 0 });
  });
});
