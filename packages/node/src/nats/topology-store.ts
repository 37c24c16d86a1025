import type { Names, Topology } from '@spill/core';
import { type KV, type NatsConnection, NatsError, StorageType } from 'nats';
import { askAgain } from './ask-again.js';
import { notOlder } from './not-older.js';

export interface StoredTopology {
  readonly topology: Topology;
  readonly revision: number;
}

/** Somebody else wrote first: read again and decide again. */
export class TopologyRaceError extends Error {
  override readonly name = 'TopologyRaceError';
}

const KEY = 'topology';
const ANSWER_MS = 2_500;

/**
 * The topology document in a JetStream key-value bucket. Reads go to the stream's leader (`allow_direct: false`), so
 * that no lagging replica answers; writes are compare-and-set.
 */
export class TopologyStore {
  /** The epoch of the newest document that was seen here, by whatever way. */
  private newest = 0;

  private constructor(
    private readonly nc: NatsConnection,
    private readonly kv: KV,
  ) {}

  /** Opens the bucket; `create` makes it where it is missing, which only the first start of a cluster may. */
  static async open(
    nc: NatsConnection,
    names: Names,
    options: { create: boolean; replicas?: number },
  ): Promise<TopologyStore> {
    const bucket = names.topologyBucket();
    const { create, replicas = 1 } = options;
    // Nothing is asked here, above all not of JetStream's own leader, which may be elected just now: `read` will tell.
    const { views } = nc.jetstream({ timeout: ANSWER_MS, checkAPI: create });
    const kv = create
      ? await views.kv(bucket, { history: 1, replicas, storage: StorageType.File, allow_direct: false })
      : await views.kv(bucket, { bindOnly: true, allow_direct: false });
    return new TopologyStore(nc, kv);
  }

  /** null: there is no topology yet. @throws Error where it is older than one that was seen here before. */
  async read(): Promise<StoredTopology | null> {
    const { told, isOlder } = await notOlder(
      () => this.readOnce(),
      () => this.newest,
      (stored, newest) => epochOf(stored) < newest,
    );
    if (isOlder) {
      throw new Error(`the topology is at epoch ${epochOf(told)}, and was at ${this.newest} before: it lost something`);
    }
    return this.seen(told);
  }

  private async readOnce(): Promise<StoredTopology | null> {
    const entry = await askAgain(() => this.kv.get(KEY));
    if (entry?.operation !== 'PUT') return null;
    return { topology: JSON.parse(entry.string()) as Topology, revision: entry.revision };
  }

  private seen<T extends StoredTopology | null>(stored: T): T {
    this.newest = Math.max(this.newest, epochOf(stored));
    return stored;
  }

  /** Like `read`, where a topology must exist. @throws Error */
  async require(): Promise<StoredTopology> {
    const stored = await this.read();
    if (!stored) throw new Error('this cluster has no topology yet: start a node first');
    return stored;
  }

  /** The first document. @throws TopologyRaceError where one is there already. */
  async create(topology: Topology): Promise<StoredTopology> {
    return this.write(topology, () => this.kv.create(KEY, JSON.stringify(topology)));
  }

  /** @throws TopologyRaceError where `revision` is not the newest. */
  async update(topology: Topology, revision: number): Promise<StoredTopology> {
    return this.write(topology, () => this.kv.update(KEY, JSON.stringify(topology), revision));
  }

  /**
   * Reads, changes and writes until no one else wrote in between. `change` returns null where nothing is to be done.
   * What `change` throws is passed on. `read`: what was read shortly before, which saves reading it again.
   */
  async change(change: (topology: Topology) => Topology | null, read?: StoredTopology): Promise<StoredTopology> {
    for (let stored = read ?? (await this.require()); ; stored = await this.require()) {
      const next = change(stored.topology);
      if (!next) return stored;
      try {
        return await this.update(next, stored.revision);
      } catch (error) {
        if (!(error instanceof TopologyRaceError)) throw error;
      }
    }
  }

  /**
   * Calls `onChange` with each newer document. Only a hint: values may be skipped and a watch may fall silent, so it is
   * read again after every reconnect and every `rereadMs`. Returns the function that ends it.
   */
  async watch(
    onChange: (stored: StoredTopology) => void,
    onError: (error: Error) => void,
    rereadMs = 10_000,
  ): Promise<() => void> {
    let latest = 0;
    const offer = (stored: StoredTopology | null): void => {
      if (!stored || stored.topology.epoch <= latest) return;
      latest = stored.topology.epoch;
      onChange(this.seen(stored));
    };
    const reread = (): void => {
      this.read().then(offer, onError);
    };
    const iterator = await this.kv.watch({ key: KEY });
    (async () => {
      for await (const entry of iterator) {
        if (entry.operation !== 'PUT') continue;
        offer({ topology: JSON.parse(entry.string()) as Topology, revision: entry.revision });
      }
    })().catch(onError);
    const statuses = this.nc.status();
    (async () => {
      for await (const status of statuses) if (status.type === 'reconnect') reread();
    })().catch(onError);
    const timer = setInterval(reread, rereadMs);
    return () => {
      clearInterval(timer);
      iterator.stop();
    };
  }

  private async write(topology: Topology, put: () => Promise<number>): Promise<StoredTopology> {
    try {
      return this.seen({ topology, revision: await put() });
    } catch (error) {
      if (isWrongSequence(error)) throw new TopologyRaceError('the topology was changed meanwhile', { cause: error });
      throw error;
    }
  }
}

function epochOf(stored: StoredTopology | null): number {
  return stored?.topology.epoch ?? 0;
}

/** Both codes mean a failed compare-and-set: 10071, and from 2.12 on also 10164. */
export function isWrongSequence(error: unknown): boolean {
  const code = error instanceof NatsError ? error.api_error?.err_code : undefined;
  return code === 10_071 || code === 10_164;
}
