import {
  decodeBody,
  encodeBody,
  Names,
  type Pool,
  type ShardLifecycle,
  SpillError,
  spillErrorFromWire,
} from '@spill/core';
import { connectNats } from '../nats/connect.js';
import { type NatsConnection, requesterOf } from '../nats/request.js';
import { noServerError, plainServers } from './no-server-error.js';
import type {
  ActionsReply,
  FoldReply,
  PerformanceReply,
  RebalanceReply,
  ShardLocation,
  TopologyReply,
  VerifyReply,
} from './operator-replies.js';

export interface OperatorClientOptions {
  /** URLs separated by commas: `nats://127.0.0.1:4222`. */
  readonly servers: string;
  /** Of the cluster's subjects. */
  readonly prefix?: string;
  /** Shown in the server's connection list. */
  readonly name?: string;
}

export interface OperatorRequestOptions {
  /** How long to wait; the cluster stops trying then, too. */
  readonly timeoutMs: number;
}

/**
 * Requests of operators, over the public protocol. Every method throws SpillError: `unavailable` where nobody answers,
 * `timeout` where the answer took too long, and what the cluster answers with.
 */
export class OperatorClient {
  private constructor(
    private readonly nc: NatsConnection,
    private readonly servers: string,
    readonly names: Names,
  ) {}

  /** @throws SpillError `unavailable` where no server answers. */
  static async connect(options: OperatorClientOptions): Promise<OperatorClient> {
    const names = new Names(options.prefix);
    try {
      const nc = await connectNats({
        servers: options.servers.split(','),
        name: options.name ?? 'spill-operator',
        reconnect: true,
      });
      return new OperatorClient(nc, options.servers, names);
    } catch (error) {
      throw noServerError(options.servers, error);
    }
  }

  topology(options: OperatorRequestOptions): Promise<TopologyReply> {
    return this.ask(this.names.supervisor('topology'), {}, options);
  }

  performance(options: OperatorRequestOptions): Promise<PerformanceReply> {
    return this.ask(this.names.supervisor('performance'), {}, options);
  }

  locate(shard: number, options: OperatorRequestOptions): Promise<ShardLocation> {
    return this.ask(this.names.shardsLocate(), { shard }, options);
  }

  /** `shard` null: all of them. Resolves once everything acknowledged before is folded or set aside. */
  fold(shard: number | null, options: OperatorRequestOptions): Promise<FoldReply> {
    return this.ask(this.names.supervisor('fold'), shard === null ? {} : { shard }, options);
  }

  /** `accounts` null: all of them. */
  verify(accounts: readonly string[] | null, options: OperatorRequestOptions): Promise<VerifyReply> {
    return this.ask(this.names.supervisor('verify'), accounts === null ? {} : { accounts }, options);
  }

  /** `node` null: the one with the fewest shards. */
  createShard(pool: Pool, node: string | null, options: OperatorRequestOptions): Promise<{ shard: number }> {
    return this.ask(this.names.supervisor('create_shard'), node === null ? { pool } : { pool, node }, options);
  }

  /** Begins to close it; its slots move away, its log is folded to the end, then it is retired. */
  deleteShard(shard: number, options: OperatorRequestOptions): Promise<{ shard: number; state: ShardLifecycle }> {
    return this.ask(this.names.supervisor('delete_shard'), { shard }, options);
  }

  /** Takes a node that is gone for good out of the list; refused where it lives or has shards. */
  removeNode(node: string, options: OperatorRequestOptions): Promise<{ node: string }> {
    return this.ask(this.names.supervisor('remove_node'), { node }, options);
  }

  rebalance(dryRun: boolean, options: OperatorRequestOptions): Promise<RebalanceReply> {
    return this.ask(this.names.supervisor('rebalance'), { dry_run: dryRun }, options);
  }

  /** What supervisors and operators had done to the topology, the newest first. */
  actions(options: OperatorRequestOptions): Promise<ActionsReply> {
    return this.ask(this.names.supervisor('actions'), {}, options);
  }

  /** Sends `body` as JSON and resolves with the reply's value, as it came. */
  async ask<T>(subject: string, body: unknown, { timeoutMs }: OperatorRequestOptions): Promise<T> {
    const outcome = await requesterOf(this.nc)(subject, encodeBody(body, 'json'), {
      timeoutMs,
      headers: { 'Spill-Deadline-Ms': String(Math.max(1, Math.floor(timeoutMs))) },
    });
    switch (outcome.outcome) {
      case 'answer': {
        const value = decodeBody(outcome.data);
        if (outcome.error) throw spillErrorFromWire((value as { error?: unknown } | null)?.error);
        return value as T;
      }
      case 'no_responders':
        throw new SpillError('unavailable', `${plainServers(this.servers)} is there, but nobody answers ${subject}`);
      case 'not_sent':
        throw new SpillError('unavailable', `the request to ${subject} could not be sent: ${outcome.detail}`);
      case 'no_answer':
        throw new SpillError('timeout', `${subject} gave no answer within ${timeoutMs} ms (${outcome.detail})`);
    }
  }

  async close(): Promise<void> {
    await this.nc.close();
  }
}
