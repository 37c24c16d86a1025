import type { Names } from '@spill/core';
import { type KV, type NatsConnection, StorageType } from 'nats';
import type { RecordedAction } from '../client/operator-replies.js';

const KEPT_MS = 30 * 24 * 3600 * 1000;

/** Every action of the supervisors of the last thirty days. */
export class ActionStore {
  private constructor(private readonly kv: KV) {}

  static async open(nc: NatsConnection, names: Names, replicas: number): Promise<ActionStore> {
    const options = { history: 1, replicas, storage: StorageType.File, ttl: KEPT_MS, allow_direct: false };
    return new ActionStore(await nc.jetstream({ timeout: 5_000 }).views.kv(names.actionBucket(), options));
  }

  async add(action: RecordedAction): Promise<void> {
    const key = `${Date.parse(action.at)}-${Math.random().toString(36).slice(2, 10)}`;
    await this.kv.put(key, JSON.stringify(action));
  }

  /** The newest first. */
  async list(limit: number): Promise<RecordedAction[]> {
    const keys: string[] = [];
    for await (const key of await this.kv.keys()) keys.push(key);
    keys.sort().reverse();
    const entries = await Promise.all(keys.slice(0, limit).map((key) => this.kv.get(key)));
    return entries.flatMap((entry) => (entry?.operation === 'PUT' ? [entry.json<RecordedAction>()] : []));
  }
}
