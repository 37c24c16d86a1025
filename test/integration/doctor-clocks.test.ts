import type { ShardStatus } from '@spill/core';
import { DataTableUnavailableError } from '@spill/core';
import { runDoctor } from '@spill/node';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { RouterHarness } from '../support/router-harness.ts';

let harness: RouterHarness;

beforeEach(async () => {
  harness = await RouterHarness.start();
});

afterEach(() => harness.stop());

test('doctor tells that the machine of a shard has another clock', async () => {
  const away = (): Promise<never> => Promise.reject(new DataTableUnavailableError('away'));
  const table = { checkSchema: away, ledgerOf: away, listSetAside: away, listConflicts: away, clock: away };
  for (const shard of [1, 2, 3]) {
    const fake = await harness.shard(shard);
    fake.onAsk = () => {
      // The fields that doctor looks at.
      const status = { epoch: 1, horizon: 0, reason: null, foldError: null, clock: (Date.now() - 3_600_000) * 1_000 };
      return { answer: 'status', status: status as unknown as ShardStatus };
    };
  }
  const findings = await runDoctor({
    servers: harness.server.url,
    prefix: 'spill',
    monitorUrl: null,
    dataDir: null,
    database: { kind: 'embedded', table },
    idsMax: 1_000,
    pendingBytesMax: 1_000,
    maxClockSkewMs: 60_000,
  });
  const message = expect.stringMatching(/ ms ahead of that of node node-a, max_clock_skew is 60000 ms/);
  expect(findings).toContainEqual({ check: 'clocks', severity: 'error', message });
});
