import { fileURLToPath } from 'node:url';
import { slotOf } from '@spill/core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { startNode, type TestNode } from '../support/spill-node.js';
import { pythonPackages, runPython } from './python-packages.js';
import { slotVectors } from './slot-vectors.js';

const script = (name: string): string => fileURLToPath(new URL(`./python/${name}`, import.meta.url));

describe('a client in Python', () => {
  let node: TestNode;
  beforeAll(async () => {
    [node] = await Promise.all([
      startNode({ args: ['--create-accounts', '--large-threshold', '80000'] }),
      pythonPackages(),
    ]);
  }, 400_000);
  afterAll(() => node?.dispose());

  test.each(['json', 'messagepack'])(
    'speaks the protocol in %s: int64 extremes, timestamps, errors',
    async (encoding) => {
      const output = await runPython(script('protocol.py'), [node.natsUrl, encoding]);
      expect(output).toMatch(/^13 checks passed$/m);
    },
    120_000,
  );
});

describe('the slots of docs/PROTOCOL.md', () => {
  const vectors = slotVectors();

  test('are ten', () => {
    expect(vectors).toHaveLength(10);
  });

  test('are those of a second implementation of XXH64', async () => {
    const output = await runPython(
      script('slots.py'),
      vectors.map(({ account }) => account),
    );
    expect(output.trim().split('\n')).toEqual(vectors.map(({ hash, slot }) => `${hash} ${slot}`));
  }, 400_000);

  test.each(vectors)('are those that spill computes: $account', ({ account, slot }) => {
    expect(slotOf(account)).toBe(slot);
  });
});
