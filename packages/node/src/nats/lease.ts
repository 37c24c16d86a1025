import { hostname } from 'node:os';
import type { Names } from '@spill/core';
import { type KV, type NatsConnection, NatsError, StorageType } from 'nats';
import { isWrongSequence } from './topology-store.js';

const KEY = 'supervisor';

/**
 * Who is the active supervisor: a key that expires. It only saves work twice done; what is done stays right with two
 * holders, since the topology is changed by compare-and-set and every step may be repeated.
 */
export class Lease {
  private revision = 0;
  private heldUntil = 0;

  private constructor(
    private readonly kv: KV,
    private readonly holder: string,
    private readonly ttlMs: number,
  ) {}

  static async open(nc: NatsConnection, names: Names, node: string, ttlMs: number, replicas: number): Promise<Lease> {
    const kv = await nc.jetstream({ timeout: 5_000 }).views.kv(names.leaseBucket(), {
      history: 1,
      replicas,
      storage: StorageType.File,
      ttl: ttlMs,
      allow_direct: false,
    });
    return new Lease(kv, JSON.stringify({ node, host: hostname(), pid: process.pid }), ttlMs);
  }

  /** Held by this process's own monotonic clock: half the time to live since the last renewal. */
  get isHeld(): boolean {
    return performance.now() < this.heldUntil;
  }

  /** Takes or renews it. Returns whether it is held now. */
  async renew(): Promise<boolean> {
    const asked = performance.now();
    try {
      this.revision =
        this.revision > 0
          ? await this.kv.update(KEY, this.holder, this.revision)
          : await this.kv.create(KEY, this.holder);
      this.heldUntil = asked + this.ttlMs / 2;
    } catch (error) {
      if (!(error instanceof NatsError)) throw error;
      // Somebody else holds it, or it expired and is free again at the next try; or NATS is away.
      if (isWrongSequence(error)) this.revision = 0;
    }
    return this.isHeld;
  }

  /** So that another takes over at once. */
  async release(): Promise<void> {
    if (this.revision === 0) return;
    const { revision } = this;
    this.heldUntil = 0;
    this.revision = 0;
    await this.kv.delete(KEY, { previousSeq: revision });
  }
}
