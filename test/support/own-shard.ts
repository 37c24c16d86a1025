import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';
import { Names, raiseAssignment, shardOf } from '@spill/core';
import { type ChildToNode, connectNats, readSettings, type StartShard, TopologyStore } from '@spill/node';

const SHARD_SCRIPT = fileURLToPath(new URL('../../packages/node/dist/shard/shard-process.js', import.meta.url));

/** A real process of a shard whose parent is the test, so that no node ends it. */
export interface OwnShard {
  readonly pid: number;
  readonly assignment: number;
  /** Resolves with its exit code; null: a signal ended it. */
  readonly exit: Promise<number | null>;
  /** Resolves once it takes transactions; rejects where it ends before that. */
  readonly serving: Promise<void>;
  end(): Promise<void>;
}

export interface OwnShardOptions {
  readonly natsUrl: string;
  readonly dataDir: string;
  readonly databaseUrl: string;
  readonly shard: number;
  /** As the settings of a node. */
  readonly flags?: Parameters<typeof readSettings>[0]['flags'];
  readonly env?: NodeJS.ProcessEnv;
  /** Anything that it says. */
  readonly onMessage?: (message: ChildToNode) => void;
}

/** Raises the shard's assignment as its node would, and starts a process for it. */
export async function startOwnShard(options: OwnShardOptions): Promise<OwnShard> {
  const { natsUrl, dataDir, databaseUrl, shard } = options;
  const { settings } = readSettings({ flags: { ...options.flags, database_url: databaseUrl, data_dir: dataDir } });
  const { node, assignment } = await raise(natsUrl, shard);
  const start: StartShard = {
    type: 'start',
    role: 'shard',
    natsUrl,
    prefix: 'spill',
    node,
    dataDir,
    database: { kind: 'postgres', connection: { connectionString: databaseUrl }, mapping: settings.mapping },
    tuning: { ...settings.tuning, logRetentionBytes: 2 ** 30 },
    shard,
    assignment,
    witness: null,
  };
  const child = fork(SHARD_SCRIPT, [`own-shard-${shard}`], {
    serialization: 'advanced',
    stdio: ['ignore', 'ignore', 'ignore', 'ipc'],
    ...(options.env && { env: { ...process.env, ...options.env } }),
  });
  const said: string[] = [];
  const exit = once(child, 'exit').then(([code]) => code as number | null);
  const serving = new Promise<void>((resolve, reject) => {
    child.on('message', (message: ChildToNode) => {
      options.onMessage?.(message);
      if (message.type === 'serving') resolve();
      if (message.type === 'log') said.push(message.message);
      if (message.type === 'damaged') reject(new Error(message.reason));
    });
    void exit.then((code) => reject(new Error(`shard ${shard} ended with code ${code}: ${said.join('; ')}`)));
  });
  child.send(start);
  return { pid: child.pid as number, assignment, exit, serving, end: () => end(child, exit) };
}

const RAISES_MAX = 5;

/** Tried again where a busy server does not answer in time: two raises do no harm. */
async function raise(natsUrl: string, shard: number, tries = 1): Promise<{ node: string; assignment: number }> {
  const nc = await connectNats({ servers: natsUrl, name: 'the test, as a node', reconnect: false });
  try {
    const store = await TopologyStore.open(nc, new Names(), { create: false });
    const { node } = shardOf((await store.require()).topology, shard)!;
    const { topology } = await store.change((before) => raiseAssignment(before, shard, node));
    return { node, assignment: shardOf(topology, shard)!.assignment };
  } catch (error) {
    if (tries === RAISES_MAX) throw error;
  } finally {
    await nc.close();
  }
  return raise(natsUrl, shard, tries + 1);
}

async function end(child: ChildProcess, exit: Promise<unknown>): Promise<void> {
  child.kill('SIGKILL');
  await exit;
}
