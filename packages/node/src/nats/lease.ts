import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import type { Names } from '@spill/core';
import { type KV, type NatsConnection, NatsError, StorageType } from 'nats';
import { isWrongSequence } from './topology-store.js';

const KEY = 'supervisor';
const ANSWER_MS = 2_500;

/**
 * Who is the active supervisor: a key that expires. It only saves work twice done; what is done stays right with two
 * holders, since the topology is changed by compare-and-set and every step may be repeated.
 */
export class Lease {
  private revision = 0;
  private heldUntil = 0;
  private renewing: Promise<boolean> | null = null;

  private constructor(
    private readonly kv: KV,
    private readonly holder: string,
    private readonly ttlMs: number,
  ) {}

  static async open(nc: NatsConnection, names: Names, node: string, ttlMs: number, replicas: number): Promise<Lease> {
    const kv = await nc.jetstream({ timeout: ANSWER_MS }).views.kv(names.leaseBucket(), {
      history: 1,
      replicas,
      storage: StorageType.File,
      ttl: ttlMs,
      allow_direct: false,
    });
    const holder = { node, host: hostname(), pid: process.pid, nonce: randomBytes(8).toString('hex') };
    return new Lease(kv, JSON.stringify(holder), ttlMs);
  }

  /** Held by this process's own monotonic clock: half the time to live since the last renewal. */
  get isHeld(): boolean {
    return performance.now() < this.heldUntil;
  }

  /** Takes or renews it, one try at a time: a second one would be refused by the first. Returns whether it is held. */
  renew(): Promise<boolean> {
    this.renewing ??= this.renewOnce().finally(() => {
      this.renewing = null;
    });
    return this.renewing;
  }

  private async renewOnce(): Promise<boolean> {
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
      if (isWrongSequence(error)) this.revision = await this.ownRevision();
    }
    return this.isHeld;
  }

  /** A renewal whose answer was lost is one's own all the same, and goes on from there. 0: somebody else's, or none. */
  private async ownRevision(): Promise<number> {
    const entry = await this.kv.get(KEY);
    return entry?.operation === 'PUT' && entry.string() === this.holder ? entry.revision : 0;
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
