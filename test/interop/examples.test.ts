import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startNode, type TestNode } from '../support/spill-node.js';
import { pythonPackages, runPython } from './python-packages.js';

const run = promisify(execFile);
const example = (name: string): string => fileURLToPath(new URL(`../../examples/${name}`, import.meta.url));

describe('the examples', () => {
  let node: TestNode;
  beforeAll(async () => {
    [node] = await Promise.all([startNode({ args: ['--create-accounts'] }), pythonPackages()]);
  }, 400_000);
  afterAll(() => node?.dispose());

  test('node/client.mjs: the SDK', async () => {
    const { stdout } = await run(process.execPath, [example('node/client.mjs'), node.natsUrl]);
    expect(stdout).toMatch(/^stored by shard \d+\nduplicate\n1000 stored\nalice: -1250 = row /);
    expect(stdout).toContain('refused: invalid_transaction: amount is 0: must not be 0 (try again: false)');
  });

  test('node/plain-nats.mjs: JSON', async () => {
    const { stdout } = await run(process.execPath, [example('node/plain-nats.mjs'), node.natsUrl]);
    expect(stdout).toContain("status: 'stored'");
    expect(stdout).toContain("balance: '250000'");
  });

  test('python/client.py: nats-py', async () => {
    const output = await runPython(example('python/client.py'), [node.natsUrl]);
    expect(output).toMatch(/^stored by shard \d+\n\['stored', 'stored', 'stored'\]\n/);
    expect(output).toContain("'balance': '-1000'");
    expect(output).toContain('refused: invalid_transaction: amount is "0"');
  });
});
