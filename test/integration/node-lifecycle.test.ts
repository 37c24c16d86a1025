import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { changeShard, Names, registerNode } from '@spill/core';
import { TopologyStore } from '@spill/node';
import { connect, ErrorCode, type NatsConnection, type NatsError } from 'nats';
import pg from 'pg';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { startPostgres, type TestPostgres } from '../support/postgres.js';
import { cleanEnv, runNode, SPILL_NODE, type StartNode, startNode, type TestNode } from '../support/spill-node.js';

/** The client's own bound, one second, is short on a busy machine. */
const PATIENT = { timeout: 30_000 };

const nodes: TestNode[] = [];
const folders: string[] = [];

afterEach(async () => {
  for (const node of nodes.splice(0)) await node.dispose();
  for (const folder of folders.splice(0)) rmSync(folder, { recursive: true, force: true });
});

/** A start waits for no database, and PGlite takes seconds to make one: what needs none here does without. */
const NO_DATABASE = 'postgres://nobody@127.0.0.1:1/none';

async function start(options: StartNode = {}): Promise<TestNode> {
  const node = await startNode({ databaseUrl: NO_DATABASE, ...options });
  nodes.push(node);
  return node;
}

function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'spill-lifecycle-'));
  folders.push(folder);
  return folder;
}

function isRunning(pid: number): boolean {
  return existsSync(`/proc/${pid}`) && !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
}

async function until(what: string, holds: () => boolean | Promise<boolean>, waitMs = 20_000): Promise<void> {
  const end = performance.now() + waitMs;
  while (!(await holds())) {
    if (performance.now() > end) throw new Error(`not within ${waitMs / 1_000} s: ${what}`);
    await delay(50);
  }
}

interface TopologyReply {
  epoch: number;
  large_threshold: string;
  shards: { id: number; pool: string; node: string; assignment: number; state: string; reason?: string }[];
}

async function topologyOf(nc: NatsConnection): Promise<TopologyReply> {
  return (await nc.request('spill.supervisor.topology', '{}', { timeout: 10_000 })).json<TopologyReply>();
}

async function submit(nc: NatsConnection, id: string, amount = 5): Promise<{ status: string }> {
  const body = JSON.stringify({ account: 'alice', id, amount });
  return (await nc.request('spill.transactions.submit', body, { timeout: 10_000 })).json<{ status: string }>();
}

async function withClient<T>(node: TestNode, use: (nc: NatsConnection) => Promise<T>): Promise<T> {
  const nc = await connect({ servers: node.natsUrl, waitOnFirstConnect: true, maxReconnectAttempts: -1 });
  try {
    return await use(nc);
  } finally {
    await nc.close();
  }
}

describe('a node on its own', () => {
  test('says that it is ready in one line, takes a transaction, and stops cleanly on SIGTERM', async () => {
    const node = await startNode();
    nodes.push(node);
    expect(node.stdout()).toBe(`spill-node ready ${node.natsUrl}\n`);
    expect(Object.keys(node.childPids()).sort()).toEqual(['router', 'shard-1', 'shard-2', 'shard-3']);
    const pids = [...Object.values(node.childPids()), node.natsServerPid()];
    await withClient(node, async (nc) => {
      expect((await submit(nc, 't1')).status).toBe('stored');
      const topology = await topologyOf(nc);
      expect(topology.shards.map(({ pool, state }) => `${pool} ${state}`)).toEqual([
        'credit open',
        'debit open',
        'large open',
      ]);
      expect(JSON.stringify(topology)).not.toContain('secret');
    });
    expect(await node.stop()).toBe(0);
    for (const pid of pids) expect(isRunning(pid)).toBe(false);
    expect(existsSync(join(node.dataDir, 'node.pid'))).toBe(false);
  });

  test('a second one on the same folder refuses, naming the pid of the first', async () => {
    const node = await start();
    const second = await runNode(['start', '--data-dir', node.dataDir, '--nats-port', '0']);
    expect(second.code).toBe(1);
    expect(second.stdout).toBe('');
    expect(second.stderr).toContain(`the node with pid ${node.pid} uses it`);
    expect(isRunning(node.pid)).toBe(true);
  });

  test('the pid file of a node that is gone locks nothing, though its pid may be in use', async () => {
    for (const left of [JSON.stringify({ pid: process.pid, startTime: 'long ago', commandLine: 'node' }), '']) {
      const dataDir = temporaryFolder();
      writeFileSync(join(dataDir, 'node.pid'), left);
      const node = await start({ dataDir });
      expect(JSON.parse(readFileSync(join(dataDir, 'node.pid'), 'utf8')).pid).toBe(node.pid);
    }
  });

  test('killed by SIGKILL, its children go by themselves; started again, it ends its old nats-server and goes on', async () => {
    const node = await start();
    await withClient(node, (nc) => submit(nc, 't1'));
    const children = Object.values(node.childPids());
    const server = node.natsServerPid();
    const stopped = node.childPids()['shard-1'] as number;
    // A stopped process can't notice that its node is gone.
    process.kill(stopped, 'SIGSTOP');
    await node.kill9();
    await until('the children that can notice are gone', () =>
      children.every((pid) => pid === stopped || !isRunning(pid)),
    );
    expect(isRunning(stopped)).toBe(true);
    expect(isRunning(server)).toBe(true);
    await node.restart();
    expect(isRunning(stopped)).toBe(false);
    expect(isRunning(server)).toBe(false);
    await withClient(node, async (nc) => {
      expect((await submit(nc, 't1')).status).toBe('duplicate');
      expect((await submit(nc, 't2')).status).toBe('stored');
    });
    expect(await node.stop()).toBe(0);
  });

  test('a shard that is killed is started again under a new assignment', async () => {
    const node = await start();
    await withClient(node, async (nc) => {
      const before = await topologyOf(nc);
      process.kill(node.childPids()['shard-1'] as number, 'SIGKILL');
      expect((await submit(nc, 't1')).status).toMatch(/stored|applied/);
      await until('a new assignment', async () => {
        const now = await topologyOf(nc);
        return (now.shards[0]?.assignment ?? 0) > (before.shards[0]?.assignment ?? 0);
      });
    });
  });

  test('a stopped shard is replaced: first the successor, then its end', async () => {
    const node = await start();
    const pid = node.childPids()['shard-1'] as number;
    process.kill(pid, 'SIGSTOP');
    await until('the stopped process is ended', () => !isRunning(pid));
    await until('a successor', () => (node.childPids()['shard-1'] ?? pid) !== pid);
    await withClient(node, async (nc) => {
      await until('the successor takes transactions', async () => (await submit(nc, 't1')).status === 'stored');
    });
    expect(node.stderr()).toContain('shard 1: silent');
  });

  test('a node runs only the shards that the topology gives it, each start under a new assignment', async () => {
    const node = await start();
    await withClient(node, async (nc) => {
      const store = await TopologyStore.open(nc, new Names(), { create: false });
      const { node: name, assignment } = (await topologyOf(nc)).shards[0]!;
      const pid = node.childPids()['shard-1'] as number;
      // Another node, which has not been silent for long: until it has, nobody takes the shard back from it.
      const elsewhere = { name: 'elsewhere', labels: {}, since: new Date().toISOString() };
      await store.change((topology) => changeShard(registerNode(topology, elsewhere), 1, { node: elsewhere.name }));
      await until('the process is ended', () => !isRunning(pid));
      // Longer than any restart would wait.
      await delay(1_000);
      expect(node.childPids()['shard-1']).toBeUndefined();
      expect((await topologyOf(nc)).shards[0]?.assignment).toBe(assignment);
      await store.change((topology) => changeShard(topology, 1, { node: name }));
      await until('it takes transactions again', async () => (await submit(nc, 't1')).status === 'stored');
      expect((await topologyOf(nc)).shards[0]?.assignment).toBe(assignment + 1);
    });
  });

  test('a raised assignment, as after a repair, calls for a new process', async () => {
    const node = await start();
    await withClient(node, async (nc) => {
      const store = await TopologyStore.open(nc, new Names(), { create: false });
      const { assignment } = (await topologyOf(nc)).shards[0]!;
      const pid = node.childPids()['shard-1'] as number;
      await store.change((topology) => changeShard(topology, 1, { assignment: assignment + 10 }));
      await until('the process is ended', () => !isRunning(pid));
      await until('it takes transactions again', async () => (await submit(nc, 't1')).status === 'stored');
      expect((await topologyOf(nc)).shards[0]?.assignment).toBe(assignment + 11);
    });
  });

  test('a shard whose log is gone is damaged: told in the topology, and no reason not to be ready', async () => {
    const node = await start();
    await withClient(node, async (nc) => {
      await (await nc.jetstreamManager()).streams.delete('SPILL_1');
      process.kill(node.childPids()['shard-1'] as number, 'SIGKILL');
      await until('it is damaged', async () => (await topologyOf(nc)).shards[0]?.state === 'damaged');
      expect((await topologyOf(nc)).shards[0]?.reason).toContain('SPILL_1');
    });
    expect(await node.stop()).toBe(0);
    await node.restart();
    await withClient(node, async (nc) => {
      expect((await topologyOf(nc)).shards.map(({ state }) => state)).toEqual(['damaged', 'open', 'open']);
      const fold = await nc.request('spill.supervisor.fold', '{"shard": 1}', PATIENT);
      expect(fold.json<{ error: { code: string } }>().error.code).toBe('conflict');
    });
  });

  test('a shard that does not come up is failed after five starts: told in the topology, and the others serve', async () => {
    const dataDir = temporaryFolder();
    // Where its own file should be is something else.
    mkdirSync(dataDir, { recursive: true });
    writeFileSync(join(dataDir, 'witness'), '');
    const node = await start({ dataDir });
    await withClient(node, async (nc) => {
      await until('all are failed', async () => (await topologyOf(nc)).shards.every(({ state }) => state === 'failed'));
      const { shards } = await topologyOf(nc);
      expect(shards.map(({ assignment }) => assignment)).toEqual([5, 5, 5]);
      expect(shards[0]?.reason).toContain('ended with code 1');
      // It would be tried again after 60 s; an operator who has mended it need not wait.
      rmSync(join(dataDir, 'witness'));
      const store = await TopologyStore.open(nc, new Names(), { create: false });
      await store.change((topology) => changeShard(topology, 1, { assignment: 10 }));
      await until('it serves', async () => (await topologyOf(nc)).shards[0]?.state === 'open');
      expect((await submit(nc, 't1')).status).toBe('stored');
    });
  });

  test('nats-server that is killed is started again on the same port', async () => {
    const node = await start();
    const pid = node.natsServerPid();
    process.kill(pid, 'SIGKILL');
    await until('another server', () => node.natsServerPid() !== pid && node.natsServerPid() !== 0);
    await withClient(node, async (nc) => {
      await until('transactions are taken again', async () => {
        const answer = await submit(nc, 't1').catch(() => null);
        return answer?.status === 'stored' || answer?.status === 'duplicate';
      });
      const { shards } = await topologyOf(nc);
      expect(shards.map(({ state }) => state)).toEqual(['open', 'open', 'open']);
    });
  });

  test('goes on when whoever read its output is gone', async () => {
    const dataDir = temporaryFolder();
    const args = ['start', '--data-dir', dataDir, '--nats-port', '0', '--database-url', NO_DATABASE];
    const child = spawn(process.execPath, [SPILL_NODE, ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
      env: cleanEnv(),
    });
    await once(child.stdout, 'data');
    child.stdout.destroy();
    child.stderr.destroy();
    const pid = (JSON.parse(readFileSync(join(dataDir, 'nats-server.pid.json'), 'utf8')) as { pid: number }).pid;
    // Has it write: a killed server is logged.
    process.kill(pid, 'SIGKILL');
    await until('the server is started again', () =>
      readFileSync(join(dataDir, 'spill-node.log'), 'utf8').includes('nats-server runs again'),
    );
    child.kill('SIGHUP');
    expect(await once(child, 'exit')).toEqual([0, null]);
  });

  test('SIGTERM under load: what was taken is committed and answered, nothing answered is lost', async () => {
    const node = await start();
    const answers = new Map<number, { shard: number; sequence: number }>();
    let sent = 0;
    const transaction = (i: number) =>
      JSON.stringify({ account: `account-${i % 7}`, id: `t${i}`, amount: (i % 2) * 2 - 1 });
    await withClient(node, async (nc) => {
      let unanswered = 0;
      let stopped: Promise<number | null> | null = null;
      const client = async (): Promise<void> => {
        while (stopped === null) {
          const i = sent++;
          try {
            const reply = await nc.request('spill.transactions.submit', transaction(i), { timeout: 20_000 });
            const answer = reply.json<{ status?: string; shard: number; sequence: number }>();
            if (answer.status === 'stored') answers.set(i, { shard: answer.shard, sequence: answer.sequence });
          } catch (error) {
            // Sent before the signal, so it was answered, or told that nobody has taken it.
            if ((error as NatsError).code !== ErrorCode.NoResponders) unanswered++;
          }
          if (answers.size > 500) stopped ??= node.stop();
        }
      };
      await Promise.all(Array.from({ length: 200 }, client));
      expect(await stopped).toBe(0);
      expect(unanswered).toBe(0);
    });
    await node.restart();
    await withClient(node, async (nc) => {
      let silent = 0;
      const again = async (i: number): Promise<void> => {
        const reply = await nc.request('spill.transactions.submit', transaction(i), { timeout: 20_000 });
        const first = answers.get(i);
        if (first) expect(reply.json()).toMatchObject({ status: 'duplicate', ...first });
        else if (reply.json<{ status: string }>().status === 'duplicate') silent++;
      };
      await Promise.all(Array.from({ length: sent }, (_, i) => again(i)));
      expect(silent).toBe(0);
    });
  });

  test('a second signal while it stops ends everything at once, with exit code 1', async () => {
    const node = await start();
    const pids = [...Object.values(node.childPids()), node.natsServerPid()];
    // A stopped router can't drain.
    process.kill(node.childPids().router as number, 'SIGSTOP');
    const stopped = node.stop();
    await delay(200);
    process.kill(node.pid, 'SIGTERM');
    const asked = performance.now();
    expect(await stopped).toBe(1);
    // One signal alone would give the router 15 s.
    expect(performance.now() - asked).toBeLessThan(10_000);
    for (const pid of pids) expect(isRunning(pid)).toBe(false);
  });

  test('what was fixed at the first start can not be changed later: both values are named', async () => {
    const node = await start({ shards: 4, args: ['--large-threshold', '80000'] });
    expect(await node.stop()).toBe(0);
    const again = await runNode([
      ...['start', '--data-dir', node.dataDir, '--nats-port', '0'],
      ...['--shards', '6', '--large-threshold', '90000'],
    ]);
    expect(again.code).toBe(1);
    expect(again.stderr).toContain('large_threshold is 90000: this cluster has 80000');
    expect(again.stderr).toContain('shard_count is 6: this cluster has 4 shards');
    await node.restart();
    await withClient(node, async (nc) => {
      expect((await topologyOf(nc)).large_threshold).toBe('80000');
    });
  });

  test('a JetStream folder that is gone is not made anew', async () => {
    const node = await start();
    expect(await node.stop()).toBe(0);
    rmSync(join(node.dataDir, 'jetstream'), { recursive: true });
    const again = await runNode(['start', '--data-dir', node.dataDir, '--nats-port', '0']);
    expect(again.code).toBe(1);
    expect(again.stderr).toContain('the topology of this cluster is missing');
  });
});

describe('starts that are refused', () => {
  test('a taken port is named', async () => {
    const server = createServer();
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    const { port } = server.address() as { port: number };
    const refused = await runNode(['start', '--data-dir', temporaryFolder(), '--nats-port', String(port)]);
    server.close();
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain(`port ${port} is taken`);
  });

  test('a setting that can not be used: exit code 2, one line, nothing made', async () => {
    const dataDir = join(temporaryFolder(), 'never');
    const refused = await runNode(['start', '--data-dir', dataDir, '--nats-port', '99999']);
    expect(refused.code).toBe(2);
    expect(refused.stderr).toBe(
      'nats_port is "99999" (--nats-port): must be a whole number from 0 to 65535, such as 4222\n',
    );
    expect(existsSync(dataDir)).toBe(false);
  });

  test('--help shows every setting with an example', () => {
    const help = spawnSync(process.execPath, [SPILL_NODE, 'start', '--help'], { encoding: 'utf8' }).stdout.replace(
      /\s+/g,
      ' ',
    );
    for (const flag of ['--nats-port', '--shards', '--large-threshold', '--database-url', '--apply-schema']) {
      expect(help).toContain(flag);
    }
    expect(help).toContain('such as 4223');
  });
});

describe('a server of its own', () => {
  let owner: TestNode;
  beforeAll(async () => {
    // Any nats-server with JetStream will do: the one of another node.
    owner = await startNode({ databaseUrl: NO_DATABASE });
  });
  afterAll(async () => {
    await owner.dispose();
  });
  const monitorUrl = (): string => {
    const { monitorPort } = JSON.parse(readFileSync(join(owner.dataDir, 'nats-server.pid.json'), 'utf8'));
    return `http://127.0.0.1:${monitorPort}`;
  };

  test('is refused where nothing shows that it syncs', async () => {
    const refused = await runNode(['start', '--data-dir', temporaryFolder(), '--nats', owner.natsUrl]);
    expect(refused.code).toBe(1);
    expect(refused.stderr).toContain('--accept-unverified-sync');
  });

  test('is named in errors without its login', async () => {
    const nats = owner.natsUrl.replace('://', '://joe:secret@');
    const refused = await runNode(['start', '--data-dir', temporaryFolder(), '--nats', nats]);
    expect(refused.stderr).toContain(JSON.stringify(owner.natsUrl));
    expect(refused.stderr).not.toContain('secret');
  });

  test('is taken where its monitor shows it; another prefix is another cluster', async () => {
    const args = ['--nats', owner.natsUrl, '--nats-monitor', monitorUrl(), '--prefix', 'other'];
    const node = await start({ args });
    expect(node.stdout()).toBe(`spill-node ready ${owner.natsUrl}\n`);
    expect(await node.stop()).toBe(0);
  });

  test('unverified, where that is accepted, is said in the ready line and in the topology', async () => {
    const node = await start({ args: ['--nats', owner.natsUrl, '--accept-unverified-sync', '--prefix', 'loose'] });
    expect(node.stdout()).toContain('sync unverified');
    await withClient(node, async (nc) => {
      const topology = (await nc.request('loose.supervisor.topology', '{}', PATIENT)).json<{
        nodes: { labels: object }[];
      }>();
      expect(topology.nodes[0]?.labels).toEqual({ sync: 'unverified' });
    });
  });

  test('a data folder of another cluster is refused', async () => {
    const refused = await runNode([
      ...['start', '--data-dir', owner.dataDir, '--nats', owner.natsUrl, '--accept-unverified-sync'],
    ]);
    expect(refused.stderr).toContain(`the node with pid ${owner.pid} uses it`);
  });
});

describe('the database', () => {
  let postgres: TestPostgres;
  beforeAll(async () => {
    postgres = await startPostgres({ fsync: false });
  });
  afterAll(async () => {
    await postgres.stop();
  });
  const refusal = (dataDir: string, databaseUrl: string) =>
    runNode(['start', '--data-dir', dataDir, '--nats-port', '0', '--database-url', databaseUrl]);

  test('PostgreSQL: refused until it is prepared, which --apply-schema does', async () => {
    const databaseUrl = await postgres.createDatabase('lifecycle');
    const dataDir = temporaryFolder();
    const without = await refusal(dataDir, databaseUrl);
    expect(without.code).toBe(1);
    expect(without.stderr).toContain('accounts');
    const client = new pg.Client(databaseUrl);
    await client.connect();
    await client.query('CREATE TABLE accounts (id text PRIMARY KEY, balance bigint NOT NULL)');
    await client.query("INSERT INTO accounts VALUES ('alice', 100)");
    const unprepared = await refusal(dataDir, databaseUrl);
    expect(unprepared.code).toBe(1);
    expect(unprepared.stderr).toContain('spill schema apply');

    const node = await start({ dataDir, databaseUrl, args: ['--apply-schema'] });
    await withClient(node, async (nc) => {
      expect((await submit(nc, 't1')).status).toBe('stored');
      await nc.request('spill.supervisor.fold', '{}', PATIENT);
    });
    expect((await client.query('SELECT balance FROM accounts')).rows).toEqual([{ balance: '105' }]);
    await client.end();
    expect(await node.stop()).toBe(0);
  });

  test('that is down at the start is a warning: what is stored meanwhile is folded once it is up', async () => {
    const databaseUrl = await postgres.createDatabase('down');
    const client = new pg.Client(databaseUrl);
    await client.connect();
    await client.query('CREATE TABLE accounts (id text PRIMARY KEY, balance bigint NOT NULL)');
    await client.query("INSERT INTO accounts VALUES ('alice', 100)");
    await client.end();
    await postgres.kill9();
    const node = await start({ databaseUrl, args: ['--apply-schema'] });
    expect(node.stderr()).toMatch(/warn .*database.*transactions are stored all the same/);
    await withClient(node, async (nc) => {
      expect((await submit(nc, 't1')).status).toBe('stored');
      await postgres.restart();
      await until('it is prepared', () => node.stderr().includes('the database is there and prepared'));
      await nc.request('spill.supervisor.fold', '{}', PATIENT);
    });
    const after = new pg.Client(databaseUrl);
    await after.connect();
    expect((await after.query('SELECT balance FROM accounts')).rows).toEqual([{ balance: '105' }]);
    await after.end();
    expect(await node.stop()).toBe(0);
  });
});

describe('operators', () => {
  test('performance, fold, verify, a further shard', async () => {
    const node = await startNode();
    nodes.push(node);
    await withClient(node, async (nc) => {
      await submit(nc, 't1');
      const fold = (await nc.request('spill.supervisor.fold', '{}', PATIENT)).json();
      expect(fold).toEqual({ folded: expect.any(Number), set_aside: expect.any(Number) });
      const verified = (await nc.request('spill.supervisor.verify', '{}', PATIENT)).json();
      expect(verified).toMatchObject({ checked: 1, lost: 0, duplicated: 0, mismatched: 0, damaged: 0, ok: true });
      await until('figures of each shard', async () => {
        const reply = (await nc.request('spill.supervisor.performance', '{}', PATIENT)).json<{
          shards: { shard: number; pid: number; memory_bytes: number | null; transactions_per_s: number | null }[];
        }>();
        return reply.shards.length === 3 && reply.shards.every((shard) => shard.transactions_per_s !== null);
      });
      const made = await nc.request('spill.supervisor.create_shard', '{"pool": "credit"}', PATIENT);
      expect(made.json()).toEqual({ shard: 4 });
      const refused = await nc.request('spill.supervisor.delete_shard', '{"shard": 2}', PATIENT);
      expect(refused.headers?.get('Nats-Service-Error-Code')).toBe('409');
      expect(refused.json<{ error: { code: string } }>().error.code).toBe('conflict');
      const unknown = await nc.request('spill.supervisor.fold', '{"shard": 99}', PATIENT);
      expect(unknown.json<{ error: { code: string } }>().error.code).toBe('not_found');
      const malformed = await nc.request('spill.supervisor.topology', '{"x": 1}', PATIENT);
      expect(malformed.json<{ error: { code: string } }>().error.code).toBe('malformed');
    });
  });
});
