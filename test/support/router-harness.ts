import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type DataTable, firstTopology, Names, raiseAssignment, type Topology } from '@spill/core';
import {
  connectNats,
  type NatsConnection,
  type RunningRouter,
  type SubmitterSettings,
  startRouter,
  TopologyStore,
} from '@spill/node';
import { headers } from 'nats';
import { provideNatsServer } from '../../packages/node/dist/nats/provide-nats-server.js';
import { FakeShard } from './fake-shard.ts';
import { type PlainNatsServer, startPlainNatsServer } from './plain-nats-server.ts';

export const LARGE_THRESHOLD = 1_000_000n;

/** What a raw client gets back. */
export interface RawReply {
  readonly data: Uint8Array;
  /** The header `Nats-Service-Error-Code`, or null. */
  readonly errorCode: string | null;
  readonly errorText: string | null;
  // biome-ignore lint/suspicious/noExplicitAny: whatever the wire carries
  json(): any;
}

/** A nats-server with a topology of three shards, of which a test starts as many fake ones as it wants. */
export class RouterHarness {
  readonly names = new Names();
  private readonly cleanUps: (() => Promise<unknown>)[] = [];

  private constructor(
    readonly server: PlainNatsServer,
    private readonly url: string,
    readonly nc: NatsConnection,
    readonly store: TopologyStore,
    private readonly folder: string,
  ) {}

  static async start(
    options: { maxPayload?: string; shardCount?: number; config?: string; login?: string } = {},
  ): Promise<RouterHarness> {
    const binary = (await provideNatsServer()).path;
    const folder = await mkdtemp(join(tmpdir(), 'spill-router-'));
    const server = await startPlainNatsServer(
      binary,
      join(folder, 'server'),
      `max_payload: ${options.maxPayload ?? '8MB'}\njetstream { store_dir: ${JSON.stringify(join(folder, 'jetstream'))} }\n${options.config ?? ''}`,
    );
    const url = options.login ? server.url.replace('//', `//${options.login}@`) : server.url;
    const nc = await connectNats({ servers: url, name: 'test', reconnect: true });
    const names = new Names();
    const store = await TopologyStore.open(nc, names, { create: true });
    const shardCount = options.shardCount ?? 3;
    await store.create(
      firstTopology({
        accountType: 'text',
        node: { name: 'node-a', labels: {}, since: '2026-01-01T00:00:00.000Z' },
        shardCount,
        largeThreshold: LARGE_THRESHOLD,
        replicas: 1,
        secret: '00'.repeat(32),
        logIds: Array.from({ length: shardCount }, (_, i) => (i + 1).toString(16).padStart(32, '0')),
      }),
    );
    return new RouterHarness(server, url, nc, store, folder);
  }

  /** A connection of its own: what belongs to one process must not share a test's. */
  async connection(name: string): Promise<NatsConnection> {
    const nc = await connectNats({ servers: this.url, name, reconnect: true });
    this.cleanUps.push(() => nc.close());
    return nc;
  }

  /** `deaf`: its watch of the topology never says anything, so that it must look for itself. */
  async router(
    settings: Partial<SubmitterSettings> = {},
    dataTable: DataTable | null = null,
    { deaf = false }: { deaf?: boolean } = {},
  ): Promise<RunningRouter> {
    const nc = await this.connection('router');
    const store = await TopologyStore.open(nc, this.names, { create: false });
    const topology = deaf ? { require: () => store.require(), watch: async () => () => {} } : store;
    const router = await startRouter({ nc, names: this.names, topology, dataTable, settings, log: () => {} });
    this.cleanUps.push(() => router.stop());
    return router;
  }

  /** Raises a shard's assignment, as a node does before it starts a process. */
  async assign(shard: number): Promise<number> {
    const { topology } = await this.store.change((before) => raiseAssignment(before, shard, 'node-a'));
    return topology.shards.find(({ id }) => id === shard)!.assignment;
  }

  /** Starts a process for a shard: a new assignment, and something that listens. */
  async shard(shard: number): Promise<FakeShard> {
    const assignment = await this.assign(shard);
    const fake = new FakeShard(await this.connection(`shard-${shard}`), this.names, shard, assignment);
    await fake.listen();
    return fake;
  }

  async topology(): Promise<Topology> {
    return (await this.store.require()).topology;
  }

  async request(
    subject: string,
    body: Uint8Array | string | object,
    options: { deadlineMs?: number; timeout?: number } = {},
  ): Promise<RawReply> {
    const bytes =
      body instanceof Uint8Array ? body : Buffer.from(typeof body === 'string' ? body : JSON.stringify(body));
    const sent = headers();
    if (options.deadlineMs !== undefined) sent.set('Spill-Deadline-Ms', String(options.deadlineMs));
    const msg = await this.nc.request(subject, bytes, { timeout: options.timeout ?? 15_000, headers: sent });
    return {
      data: msg.data,
      errorCode: msg.headers?.get('Nats-Service-Error-Code') || null,
      errorText: msg.headers?.get('Nats-Service-Error') || null,
      json: () => JSON.parse(Buffer.from(msg.data).toString()),
    };
  }

  submit(
    body: Uint8Array | string | object,
    options: { deadlineMs?: number; timeout?: number } = {},
  ): Promise<RawReply> {
    return this.request(this.names.transactions('submit'), body, options);
  }

  async stop(): Promise<void> {
    for (const cleanUp of this.cleanUps.reverse()) await cleanUp();
    await this.nc.close();
    await this.server.stop();
    await rm(this.folder, { recursive: true, force: true });
  }
}
