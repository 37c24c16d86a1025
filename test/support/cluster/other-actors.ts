/** Routers and supervisors, of the real classes over the model's ports. */
import { Names, type SpillError, type StampedTransaction, type SubmitResult } from '@spill/core';
import type { AccountBalance } from '../../../packages/node/dist/router/balance-reader.js';
import type { ReadOptions } from '../../../packages/node/dist/router/reads.js';
import type { Submitter } from '../../../packages/node/dist/router/submitter.js';
import type { TopologyKeeper } from '../../../packages/node/dist/supervisor/topology-keeper.js';
import type { Message, Outside } from './ports.js';
import { TUNING } from './shard-actor.js';
import type { Actor } from './virtual-runtime.js';

const NAMES = new Names();

export class RouterActor implements Actor {
  alive = true;
  deaf = false;
  private submitter: Submitter | null = null;
  private reads: ReadOptions | null = null;

  constructor(
    readonly name: string,
    private readonly outside: Outside,
  ) {
    // Where the first read of the topology times out, the process exits.
    this.open().catch(() => this.kill());
  }

  get serves(): boolean {
    return this.alive && this.submitter !== null;
  }

  kill(): void {
    this.alive = false;
  }

  submit(transactions: readonly StampedTransaction[], deadlineMs: number): Promise<SubmitResult[]> {
    return (this.submitter as Submitter).submit(transactions, deadlineMs);
  }

  /** null: it could not be told. */
  async balance(account: string, deadlineMs: number): Promise<AccountBalance | SpillError> {
    const { lib } = this.outside;
    const [balance] = await lib.readBalances([account], deadlineMs, this.reads as ReadOptions);
    return balance as AccountBalance | SpillError;
  }

  private async open(): Promise<void> {
    const { outside } = this;
    const { lib } = outside;
    const cache = await lib.TopologyCache.open(outside.store(this), () => {});
    const requests = new lib.ShardRequests(NAMES, lib.requesterOf(outside.connection(this)), cache);
    const dataTable = outside.dataTable(this);
    const submitter = new lib.submitter.Submitter({
      requests,
      topology: cache,
      direct: lib.directPathTo(dataTable, {
        dedupeWindowMicros: TUNING.dedupeWindowMs * 1_000,
        maxClockSkewMicros: TUNING.maxClockSkewMs * 1_000,
      }),
      settings: { ...lib.submitter.SUBMITTER_DEFAULTS, directAfterMs: TUNING.directAfterMs },
    });
    this.reads = { requests, topology: cache, dataTable, slot: (account) => submitter.slot(account) };
    this.submitter = submitter;
  }
}

export class SupervisorActor implements Actor {
  alive = true;
  /** The lease only saves work done twice: what is done stays right with any number of holders. */
  holdsLease = true;
  readonly said: string[] = [];
  /** Each different question that it has asked shards, oldest first. */
  readonly asked = new Map<string, Message>();
  private readonly keeper: TopologyKeeper;

  constructor(
    readonly name: string,
    outside: Outside,
    readonly onFailure: (message: string) => void,
    readonly onMiscopied: (message: string) => void,
  ) {
    const { lib } = outside;
    const actor = this;
    const lease = {
      get isHeld(): boolean {
        return actor.alive && actor.holdsLease;
      },
      renew: async () => actor.holdsLease,
      release: async () => {},
    };
    this.keeper = new lib.TopologyKeeper({
      topology: outside.store(this),
      lease: lease as never,
      leaseTtlMs: TUNING.leaseTtlMs,
      // One node: nothing is to be placed elsewhere.
      placer: { round: async () => {} } as never,
      ask: lib.shardAsker(lib.requesterOf(outside.connection(this, (message) => this.keep(message))), NAMES),
      table: outside.dataTable(this),
      limits: { pauseMsMax: TUNING.maxPauseMs, copyMsMax: 60_000, tailRowsMax: 1_000 },
      // Retired logs stay: when they may go is a matter of days, and a data table that was set back needs them.
      logRetentionMs: Number.POSITIVE_INFINITY,
      deleteLog: async () => {},
      onStep: (migration, step) => {
        this.said.push(`migration ${migration.id}: ${step}`);
        if (step.includes('certificates differ')) onMiscopied(`migration ${migration.id}: ${step}`);
      },
      log: (message) => {
        this.said.push(message);
        if (message.includes('supervisor failed') && !message.includes('TIMEOUT')) onFailure(message);
      },
    });
    this.keeper.start();
  }

  kill(): void {
    this.alive = false;
  }

  private keep(message: Message): void {
    const key = `${message.subject} ${Buffer.from(message.payload).toString('base64')}`;
    this.asked.delete(key);
    this.asked.set(key, message);
  }
}
