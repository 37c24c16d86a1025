import type { PoolLabels, TableMapping } from '@spill/core';

/** Bounds and times that every process of a node needs. All times in milliseconds, all sizes in bytes. */
export interface Tuning {
  readonly recordBytesMax: number;
  readonly pendingBytesMax: number;
  readonly idsMax: number;
  readonly dedupeWindowMs: number;
  readonly dedupeWindowMinMs: number;
  readonly maxClockSkewMs: number;
  readonly logRetentionMs: number;
  /**
   * null: a tenth of the disk that was free at the node's first start. The node divides it among its shards: what a
   * shard is started with is a figure, and its own share.
   */
  readonly logRetentionBytes: number | null;
  readonly foldAgeMs: number;
  readonly foldCount: number;
  readonly directAfterMs: number;
  readonly maxPauseMs: number;
  readonly coolDownMs: number;
  readonly leaseTtlMs: number;
  /** A node that answers nobody for this long is dead, as far as its shards go. */
  readonly nodeSilenceMs: number;
  readonly heartbeatMs: number;
  /** Fractions of one core, or of the memory limit. */
  readonly shardGrowthThreshold: number;
  readonly shardShrinkThreshold: number;
}

/** The embedded servers of several machines as one NATS cluster. */
export interface EmbeddedCluster {
  readonly name: string;
  readonly port: number;
  /** `host` or `host:port` of others in it. */
  readonly join: readonly string[];
  /** What its servers show each other; null: any may join. */
  readonly secret: string | null;
}

/** Every setting of a node, validated. */
export interface Settings {
  /** null: as the data folder remembers it, at the first start the host's name. */
  readonly nodeName: string | null;
  readonly prefix: string;
  /** Absolute. */
  readonly dataDir: string;
  /** URLs of an external server, separated by commas; null: the embedded one. */
  readonly nats: string | null;
  readonly natsPort: number;
  /** Where the embedded server listens. */
  readonly listen: string;
  /** null: the embedded server stands alone. */
  readonly cluster: EmbeddedCluster | null;
  readonly natsMonitor: string | null;
  readonly acceptUnverifiedSync: boolean;
  /** null: the embedded PGlite. */
  readonly databaseUrl: string | null;
  readonly applySchema: boolean;
  readonly mapping: TableMapping;
  /** null: not said, so 3 at the first start, and what there is after that. */
  readonly shardCount: number | null;
  /** Minor units. null: not said, so 1,000,000 at the first start, and what was fixed then after that. */
  readonly largeThreshold: bigint | null;
  /** null: not said, so 1 alone and 3 in a cluster of servers. */
  readonly replicationFactor: number | null;
  /** Of this node, for placement: `{"disk": "fast"}`. */
  readonly labels: Readonly<Record<string, string>>;
  /** What a node must have to run a pool's shards: `{"large": {"disk": "fast"}}`. */
  readonly poolLabels: PoolLabels;
  readonly jsonLogs: boolean;
  readonly tuning: Tuning;
}
