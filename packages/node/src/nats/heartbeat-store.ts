import type { Names } from '@spill/core';
import { type KV, type NatsConnection, StorageType } from 'nats';
import * as v from 'valibot';
import { askAgain } from './ask-again.js';
import { isWrongSequence } from './topology-store.js';

const WITNESS = v.object({
  logId: v.string(),
  assignment: v.number(),
  sequence: v.number(),
  number: v.number(),
  hash: v.string(),
  at: v.string(),
});

/** A shard's last acknowledged record as its node last heard of it. */
export type StoredWitness = Readonly<v.InferOutput<typeof WITNESS>>;

/**
 * The heartbeat bucket: the newest witness of each shard, outside its log, so that a log that comes back shorter is
 * noticed. Writes are compare-and-set and never replace a higher assignment's witness: a paused node that wakes up
 * says nothing about the successor's log.
 */
export class HeartbeatStore {
  private readonly revisions = new Map<number, number>();

  private constructor(private readonly kv: KV) {}

  /** Opens the bucket, and makes it where it is missing: a witness that is not there proves nothing. */
  static async open(nc: NatsConnection, names: Names, replicas: number): Promise<HeartbeatStore> {
    const views = nc.jetstream({ timeout: 5_000 }).views;
    const options = { history: 1, replicas, storage: StorageType.File, allow_direct: false };
    return new HeartbeatStore(await views.kv(names.heartbeatBucket(), options));
  }

  /** null: there is none. */
  async read(shard: number): Promise<StoredWitness | null> {
    const entry = await askAgain(() => this.kv.get(String(shard)));
    if (entry?.operation !== 'PUT') {
      this.revisions.set(shard, entry?.revision ?? 0);
      return null;
    }
    this.revisions.set(shard, entry.revision);
    return v.parse(WITNESS, entry.json());
  }

  /** False where a higher assignment's witness stands there, which then stays. */
  async write(shard: number, witness: StoredWitness): Promise<boolean> {
    for (;;) {
      if (!this.revisions.has(shard)) {
        const stored = await this.read(shard);
        if (stored && stored.assignment > witness.assignment) {
          this.revisions.delete(shard);
          return false;
        }
      }
      try {
        const revision = this.revisions.get(shard) as number;
        const next = await this.kv.put(String(shard), JSON.stringify(witness), { previousSeq: revision });
        this.revisions.set(shard, next);
        return true;
      } catch (error) {
        this.revisions.delete(shard);
        if (!isWrongSequence(error)) throw error;
      }
    }
  }
}
