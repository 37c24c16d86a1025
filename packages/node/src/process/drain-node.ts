import { setTimeout as delay } from 'node:timers/promises';
import { drainNode as drained, Names, type Topology, TopologyConflictError } from '@spill/core';
import { connectNats } from '../nats/connect.js';
import { TopologyStore } from '../nats/topology-store.js';
import { StartError } from './start-error.js';
import { withoutLogin } from './without-login.js';

export interface DrainNode {
  /** URLs separated by commas. */
  readonly nats: string;
  readonly prefix: string;
  readonly node: string;
  readonly timeoutMs: number;
  /** A sentence for a person, each time something has changed. */
  say(message: string): void;
}

const LOOK_AGAIN_MS = 250;

/**
 * Marks a node as draining and waits until no shard is assigned to it and each of those that left has been started where
 * it went. After that the node may be stopped; its next start takes it back.
 *
 * @throws StartError where that can't be, or does not happen in time; the node stays marked then.
 */
export async function drainNode(drain: DrainNode): Promise<void> {
  const nc = await connectNats({ servers: drain.nats.split(','), name: 'spill-node drain', reconnect: true }).catch(
    (error: Error) => {
      throw new StartError(`no server answers at ${withoutLogin(drain.nats)} (${error.message}); name one with --nats`);
    },
  );
  try {
    const store = await TopologyStore.open(nc, new Names(drain.prefix), { create: false });
    const before = (await store.require()).topology;
    try {
      await store.change((topology) => drained(topology, drain.node));
    } catch (error) {
      if (error instanceof TopologyConflictError) throw new StartError(error.message, { cause: error });
      throw error;
    }
    const leaving = new Map(
      before.shards
        .filter(({ node, state }) => node === drain.node && state !== 'retired')
        .map(({ id, assignment }) => [id, assignment]),
    );
    drain.say(`node ${drain.node} drains: ${leaving.size} shards go to other nodes`);
    const end = performance.now() + drain.timeoutMs;
    for (let said = ''; ; ) {
      const left = stillHere((await store.require()).topology, drain.node, leaving);
      if (left.length === 0) break;
      const what = `waiting for shard ${left.join(', ')}`;
      if (what !== said) drain.say(what);
      said = what;
      if (performance.now() > end) {
        throw new StartError(
          `node ${drain.node} is not drained after ${drain.timeoutMs / 1_000} s: shard ${left.join(', ')} is not started ` +
            'elsewhere; another node must be alive, and the log within reach. See "spill topology"',
        );
      }
      await delay(LOOK_AGAIN_MS);
    }
    drain.say(`node ${drain.node} is drained and may be stopped; its next start takes it back`);
  } finally {
    await nc.close();
  }
}

/** Shards that are assigned here, and those that were and have not been started where they went. */
function stillHere(topology: Topology, node: string, leaving: ReadonlyMap<number, number>): number[] {
  return topology.shards
    .filter(({ state }) => state !== 'retired')
    .filter((shard) => shard.node === node || shard.assignment === leaving.get(shard.id))
    .map(({ id }) => id);
}
