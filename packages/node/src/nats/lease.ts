import { randomBytes } from 'node:crypto';
import { hostname } from 'node:os';
import type { Names } from '@spill/core';
import { type KV, type NatsConnection, NatsError, StorageType } from 'nats';
import { askAgain } from './ask-again.js';
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
    try {
      // Read first: a question is asked again until there is a leader, and only then something is written.
      if (this.revision === 0) {
        const entry = await askAgain(() => this.kv.get(KEY));
        const held = entry?.operation === 'PUT' ? entry : null;
        if (held && held.string() !== this.holder) return false;
        // One's own: the answer to a renewal was lost.
        this.revision = held?.revision ?? 0;
      }
      const asked = performance.now();
      this.revision =
        this.revision > 0
          ? await this.kv.update(KEY, this.holder, this.revision)
          : await this.kv.create(KEY, this.holder);
      this.heldUntil = asked + this.ttlMs / 2;
    } catch (error) {
      if (!(error instanceof NatsError)) throw error;
      // Somebody was quicker, or it expired, or the answer before was lost: the next try reads which. Or NATS is away.
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
