/**
 * What a node and the processes that it starts say to each other over the IPC channel (`serialization: 'advanced'`, so
 * that bigints, maps and typed arrays survive).
 *
 * ```
 * node                                    child
 *  │ start ───────────────────────────────▶ │  once, first of all
 *  │ ◀─────────────────────────── heartbeat │  every `heartbeat`; a shard's holds its ShardStatus
 *  │ ◀───────────────────────────── serving │  once: it takes transactions
 *  │ ◀───────────────────────────── damaged │  instead of serving, or later: its log lost something
 *  │ drain ───────────────────────────────▶ │  take nothing new, finish what is in flight
 *  │ ◀───────────────────────────── drained │  then it exits with 0
 *  │ ◀───────────────────────── log, exiting │  at any time
 * ```
 *
 * A child whose channel closes exits at once: its node is gone.
 */
import type { ShardStatus, TableMapping } from '@spill/core';
import type { Tuning } from '../config/settings.js';
import type { PostgresDataTableOptions } from '../data-table/index.js';

/** How a process reaches the data table. The embedded database is reached as PostgreSQL is, over a unix socket. */
export interface DatabaseConfig {
  readonly kind: 'postgres' | 'embedded';
  readonly connection: PostgresDataTableOptions['connection'];
  readonly mapping: TableMapping;
}

/** The newest that a node knows of a shard's last acknowledged record, kept outside the log to notice its loss. */
export interface HeartbeatWitness {
  /** 32 hexadecimal digits. */
  readonly logId: string;
  readonly assignment: number;
  readonly sequence: number;
  readonly number: number;
  /** The first 16 bytes of the record's SHA-256, in hexadecimal. */
  readonly hash: string;
  /** ISO 8601, by the node's clock. */
  readonly at: string;
}

interface StartProcess {
  readonly type: 'start';
  /** Servers to connect to, separated by commas. */
  readonly natsUrl: string;
  /** Of subjects, streams and buckets: `new Names(prefix)`. */
  readonly prefix: string;
  /** Name of the node that started it. */
  readonly node: string;
  /** The node's data folder, absolute. */
  readonly dataDir: string;
  readonly database: DatabaseConfig;
  readonly tuning: Tuning;
}

export interface StartShard extends StartProcess {
  readonly role: 'shard';
  readonly shard: number;
  /** Raised for this very process. */
  readonly assignment: number;
  /** null: there is none. */
  readonly witness: HeartbeatWitness | null;
}

export interface StartRouter extends StartProcess {
  readonly role: 'router';
}

export type StartMessage = StartShard | StartRouter;

export type NodeToChild = StartMessage | { readonly type: 'drain' };

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';

export type ChildToNode =
  /** `status` null: a router, which has none. */
  | { readonly type: 'heartbeat'; readonly status: ShardStatus | null }
  | { readonly type: 'serving' }
  | { readonly type: 'drained' }
  /** `reason`: exactly what is missing, a sentence for a person. The node puts it into the topology. */
  | { readonly type: 'damaged'; readonly reason: string }
  | { readonly type: 'log'; readonly level: LogLevel; readonly message: string };

/** How a child ends on purpose. Any other code is a failure of its start. */
export enum ExitCode {
  drained = 0,
  /** NATS or a quorum of it is away: not counted as a start. (EX_TEMPFAIL of sysexits.h.) */
  waiting = 75,
  /** A higher assignment exists: this process is stale. */
  superseded = 76,
  /** The channel to the node closed. */
  orphaned = 77,
}
