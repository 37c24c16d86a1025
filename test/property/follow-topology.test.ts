import { Names, registerNode, removeNode, type Topology } from '@spill/core';
import type { NatsConnection } from '@spill/node';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { followTopology } from '../../packages/node/src/process/follow-topology.js';
import { whyReplaced } from '../../packages/node/src/process/refuse-namesake.js';
import { topologyOf } from '../support/random-topology.js';

const names = new Names();
const known = { ...topologyOf(3, 1_000_000n), epoch: 10 };
const atEpoch = (epoch: number): Topology => ({ ...known, epoch });

/** A node that follows; each way by which it hears of a document is a function. */
async function follower() {
  const changes: number[] = [];
  const errors: string[] = [];
  let stored = known;
  let offer = (_: Topology): void => {};
  let look = (): void => {};
  const nc = {
    subscribe: (subject: string, { callback }: { callback: () => void }) => {
      expect(subject).toBe(names.node('n1', 'look'));
      look = callback;
      return { unsubscribe: () => {} };
    },
  } as unknown as NatsConnection;
  const followed = await followTopology({
    nc,
    names,
    node: 'n1',
    store: {
      require: async () => ({ topology: stored, revision: stored.epoch }),
      watch: async (onChange) => {
        offer = (topology) => onChange({ topology, revision: topology.epoch });
        return () => {};
      },
    },
    known,
    onChange: ({ epoch }) => changes.push(epoch),
    onError: ({ message }) => errors.push(message),
  });
  return {
    changes,
    watchSays: (epoch: number) => offer(atEpoch(epoch)),
    stores: (epoch: number) => {
      stored = atEpoch(epoch);
    },
    isTold: async () => {
      look();
      await new Promise((resolve) => setImmediate(resolve));
    },
    reads: () => followed.read(),
  };
}

describe('a node that follows the topology', () => {
  test('an older one than it wrote itself, from a lagging copy, is never acted on', async () => {
    const node = await follower();
    for (const epoch of [9, 10, 3]) node.watchSays(epoch);
    expect(node.changes).toEqual([]);
  });

  test('told to look, it reads: its watch may be silent', async () => {
    const node = await follower();
    node.stores(11);
    await node.isTold();
    expect(node.changes).toEqual([11]);
  });

  test('whatever it hears in whatever order and by whatever way, it acts on newer ones alone, each once', async () => {
    const step = fc.record({ way: fc.constantFrom('watch', 'told', 'read'), epoch: fc.integer({ min: 1, max: 30 }) });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 20 }), async (steps) => {
        const node = await follower();
        let newest = known.epoch;
        for (const { way, epoch } of steps) {
          newest = Math.max(newest, epoch);
          if (way === 'watch') {
            node.watchSays(epoch);
            continue;
          }
          node.stores(epoch);
          if (way === 'told') await node.isTold();
          else await node.reads();
        }
        const growing = [...new Set(node.changes)].sort((a, b) => a - b);
        expect(node.changes).toEqual(growing);
        expect(node.changes.at(-1) ?? known.epoch).toBe(newest);
      }),
    );
  });
});

describe('a node goes on', () => {
  const node = { name: 'n1', labels: {}, since: '2026-01-02T00:00:00.000Z', session: 'mine' };
  const registered = registerNode(known, node);

  test('as long as the topology names its own start', () => {
    expect(whyReplaced(registered, node)).toBeNull();
  });

  test('not where another has registered under its name, nor where it was removed', () => {
    expect(whyReplaced(registerNode(registered, { ...node, session: 'other' }), node)).toContain('another node has');
    expect(whyReplaced(removeNode(registered, 'n1'), node)).toContain('an operator has removed "n1"');
  });
});
