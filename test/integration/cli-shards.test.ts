import { Names } from '@spill/core';
import type { ActionReply, TopologyReply, TopologyShard } from '@spill/node';
import { connect } from 'nats';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type CliResult, runSpill } from '../support/spill-cli.js';
import { startNode, type TestNode } from '../support/spill-node.js';

let node: TestNode;
beforeAll(async () => {
  // The supervisor fills the new shard by itself; that it does not take an idle one away again is what the pause is for.
  node = await startNode({ env: { SPILL_COOL_DOWN: '1 h', SPILL_LOG_RETENTION: '1 s' } });
});
afterAll(() => node?.dispose());

/** The command against this test's cluster. */
function spill(...args: string[]): Promise<CliResult> {
  return runSpill(args, { NATS_URL: node.natsUrl });
}

/** What it writes where all is well. */
async function text(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await spill(...args);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return stdout.trimEnd();
}

async function json<T>(...args: string[]): Promise<T> {
  return JSON.parse(await text(...args, '--json')) as T;
}

/** Asks until the cluster has come to where `there` holds. */
async function until<T>(ask: () => Promise<T>, there: (answer: T) => boolean): Promise<T> {
  for (const end = performance.now() + 60_000; ; ) {
    const answer = await ask();
    if (there(answer)) return answer;
    if (performance.now() > end) throw new Error(`it did not happen within 60 s: ${JSON.stringify(answer)}`);
  }
}

interface Measured {
  readonly shards: readonly { readonly performance: { readonly cpu_percent: number | null } | null }[];
}

test('a shard is made, filled, looked at and taken away, and why tells it all', async () => {
  expect(await text('rebalance', '--dry-run')).toMatch(/^nothing to do/);
  expect(await json('rebalance', '--dry-run')).toMatchObject({ dry_run: true, actions: [] });
  expect(await text('why')).toBe('nothing was done yet');
  const { nodes } = await json<{ nodes: { name: string }[] }>('nodes');
  const name = nodes[0]?.name;
  expect(await text('nodes')).toMatch(new RegExp(`^node .*\\n${name} +answers +1, 2, 3 `));

  expect(await text('shard', 'create', 'credit')).toBe('shard 4 is made; spill topology shows what moves to it');
  const filled = await until(
    () => json<{ actions: { action: ActionReply }[] }>('why'),
    ({ actions }) => actions.length > 1,
  );
  expect(filled.actions[0]?.action).toMatchObject({ action: 'move_slots', pool: 'credit', source: 1, target: 4 });
  const moving = /^(migration 1 \(credit\): slots .*, shard 1 ▶ shard 4, [a-z]+|nothing moves)$/;
  await until(
    async () => {
      const migrations = await text('migrations');
      expect(migrations).toMatch(moving);
      return migrations;
    },
    (migrations) => migrations === 'nothing moves',
  );

  await until(
    () => json<Measured>('topology'),
    ({ shards }) => shards.length === 4 && shards.every(({ performance: now }) => typeof now?.cpu_percent === 'number'),
  );
  const picture = await text('topology');
  expect(picture).toMatch(/^ {2}shard +pool +state +slots +owns +transactions\/s +CPU +replicas +assignment$/m);
  expect(picture).toMatch(/^ +4 +credit +open +512 +\S.* +\d+ +[\d.]+ % +1 +\d+$/m);
  const shown = await text('shard', 'show', '4');
  expect(shown).toMatch(/^CPU +[\d.]+ %\nmemory +[\d.]+ MiB\ntransactions\/s +\d+$/m);
  for (const row of ['queued +0', 'pending +0', 'set aside +0', 'conflicts +0']) {
    expect(shown).toMatch(new RegExp(`^${row}$`, 'm'));
  }

  expect(await text('shard', 'delete', '4')).toBe('shard 4 is closing; spill topology shows how far it is');
  const why = (await text('why')).split('\n').filter((line) => !line.startsWith(' '));
  const operator = `\\(an operator, through ${name}\\)`;
  expect(why).toEqual([
    expect.stringMatching(new RegExp(`^\\S+Z  shard 4 of pool credit is taken away: it was asked for ${operator}$`)),
    expect.stringMatching(
      /^\S+Z {2}512 slots of pool credit \(.*\) go from shard 1 to shard 4: shard 4 has no slots yet .* \(the supervisor on /,
    ),
    expect.stringMatching(new RegExp(`^\\S+Z  shard 4 is made in pool credit: it was asked for ${operator}$`)),
  ]);
}, 180_000);

test('what was taken away is folded to its end and retired, and then its stream goes', async () => {
  const shard = (): Promise<TopologyShard> => json('shard', 'show', '4');
  await until(shard, ({ state }) => state === 'retired');
  const nc = await connect({ servers: node.natsUrl });
  try {
    const jsm = await nc.jetstreamManager();
    const streams = async (): Promise<string[]> => (await jsm.streams.list().next()).map(({ config }) => config.name);
    const left = await until(streams, (names) => !names.includes('SPILL_4'));
    expect(left).toEqual(expect.arrayContaining(['SPILL_1', 'SPILL_2', 'SPILL_3']));
  } finally {
    await nc.close();
  }
  expect(await text('verify')).toMatch(/nothing lost, nothing twice/);
}, 120_000);

test('where nobody answers for performance, the picture is shown without load', async () => {
  const topology = await json<TopologyReply>('topology');
  const nc = await connect({ servers: node.natsUrl });
  const names = new Names('other');
  nc.subscribe(names.supervisor('topology'), {
    callback: (_, message) => message.respond(JSON.stringify(topology)),
  });
  await nc.flush();
  try {
    const picture = await text('topology', '--prefix', 'other');
    expect(picture).toMatch(/^ {2}shard +pool +state +slots +owns +replicas +assignment$/m);
    expect(picture).toMatch(/^No load is shown: /m);
    const { shards } = await json<Measured>('topology', '--prefix', 'other');
    expect(shards.map(({ performance: now }) => now)).toEqual(topology.shards.map(() => null));
  } finally {
    await nc.close();
  }
});
