import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as turn } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { readWitnessFiles, WitnessFile } from '../../packages/node/dist/shard/witness-file.js';

let dataDir: string;
const failed = (error: Error): never => {
  throw error;
};
const record = (sequence: number) => ({ logId: 'a1'.repeat(16), sequence, number: sequence, hash: 'b2'.repeat(16) });
const remembered = (): number[] => readWitnessFiles(dataDir, 1).map(({ sequence }) => sequence);

beforeEach(() => {
  dataDir = mkdtempSync(join(tmpdir(), 'spill-witness-'));
});
afterEach(() => rmSync(dataDir, { recursive: true }));

async function until(condition: () => boolean): Promise<void> {
  const end = performance.now() + 10_000;
  while (!condition()) {
    if (performance.now() > end) throw new Error(`the files hold ${JSON.stringify(readWitnessFiles(dataDir, 1))}`);
    await turn();
  }
}

test('the last of many records that come while one is written is what stays, and each line is whole', async () => {
  const witness = WitnessFile.open(dataDir, 1, 7, failed);
  let seen = 0;
  for (let sequence = 1; sequence <= 2_000; sequence++) {
    witness.write(record(sequence));
    if (sequence % 100 === 0) await turn();
    const [now = 0] = remembered();
    expect(now).toBeGreaterThanOrEqual(seen);
    seen = now;
  }
  await until(() => remembered()[0] === 2_000);
});

test('what a process ends with is there when it has ended, whatever is still being written', async () => {
  const witness = WitnessFile.open(dataDir, 1, 7, failed);
  for (let sequence = 1; sequence <= 3; sequence++) witness.write(record(sequence));
  await witness.end();
  expect(remembered()).toEqual([3]);
});

test('the file of an earlier process goes only once this one is synced', async () => {
  const earlier = WitnessFile.open(dataDir, 1, 6, failed);
  earlier.write(record(5));
  await earlier.end();
  const witness = WitnessFile.open(dataDir, 1, 7, failed);
  witness.write(record(6));
  await until(() => remembered().includes(6));
  expect(remembered()).toEqual([6, 5]);
  await until(() => {
    witness.sync();
    return readdirSync(join(dataDir, 'witness')).length === 1;
  });
  expect(remembered()).toEqual([6]);
});
