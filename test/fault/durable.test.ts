import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from 'vitest';
import { SOAK, until } from '../support/fault.js';
import { startLoad } from '../support/load.js';
import { newSeed } from '../support/random.js';
import { startNode, type TestNode } from '../support/spill-node.js';
import { judgeDurability, requireStrace, trace } from '../support/strace.js';

// biome-ignore lint/suspicious/noUndeclaredEnvVars: turbo does not run the tests.
const SKIPPED = process.platform !== 'linux' || process.env.SPILL_SKIP_STRACE === '1';
/** Of each pool. */
const TRANSACTIONS = SOAK ? 2_000 : 100;
const RECORDS_MIN = 50;

let node: TestNode | null = null;
let folder = '';

afterEach(async () => {
  await node?.dispose();
  node = null;
  rmSync(folder, { recursive: true, force: true });
});

describe.skipIf(SKIPPED)('acknowledged means on disk (not off Linux, nor with SPILL_SKIP_STRACE=1)', () => {
  test('each record is synced between its write and its acknowledgement, also after a restart', {
    timeout: SOAK ? 600_000 : 120_000,
  }, async () => {
    requireStrace();
    folder = mkdtempSync(join(tmpdir(), 'spill-strace-'));
    // Without a database: only the logs matter here.
    const target = await startNode({ databaseUrl: 'postgres://nobody@127.0.0.1:1/none' });
    node = target;
    await traceLoad(target, 'a');
    const killed = target.natsServerPid();
    process.kill(killed, 'SIGKILL');
    await until('another nats-server', () => target.natsServerPid() !== killed && target.natsServerPid() !== 0);
    await traceLoad(target, 'b');
  });
});

async function traceLoad(target: TestNode, prefix: string): Promise<void> {
  const load = await startLoad({
    natsUrl: target.natsUrl,
    seed: newSeed(`durable, ${prefix}`),
    singles: 30,
    batches: 0,
    probes: 0,
    prefix,
  });
  await load.flows(1);
  const file = join(folder, `${prefix}.txt`);
  const stop = await trace(target.natsServerPid(), file);
  await load.flows(TRANSACTIONS);
  await load.finish();
  await stop();
  const { acknowledged, tooEarly } = judgeDurability(readFileSync(file, 'utf8'));
  expect(tooEarly).toEqual([]);
  expect(acknowledged).toBeGreaterThan(RECORDS_MIN);
}
