import type { TableMapping } from '../ports.js';
import type { Pool } from './pool.js';

/** A half-open range of slots, `from` inclusive, `to` exclusive, and the shard that owns them. */
export interface SlotRange {
  readonly from: number;
  readonly to: number;
  readonly shard: number;
}

/**
 * `open`: accepts. `closing`: its slots move away. `closed`: its log ends with `closed`, still to be folded.
 * `retired`: final. `damaged`: its log lost something; an operator decides. `failed`: its process will not stay up.
 */
export type ShardLifecycle = 'open' | 'closing' | 'closed' | 'retired' | 'damaged' | 'failed';

export interface ShardEntry {
  readonly id: number;
  readonly pool: Pool;
  /** The node that runs its process. */
  readonly node: string;
  /** Grows at each start of a process for it; the one fencing token. 0: never started. */
  readonly assignment: number;
  readonly state: ShardLifecycle;
  /** 32 hexadecimal digits, random, written into record 1 of its log and into every record after. */
  readonly logId: string;
  readonly replicas: number;
  /** The ledger that it folds into, written before its first fold there. Absent: it has not looked at one yet. */
  readonly ledgerId?: string;
  /** Its watermark went back; until the fold has caught up, reads ask every shard of the pool. */
  readonly refolding?: boolean;
  /**
   * So far it was folded when slots that it gave away were taken off `draining`: a lower watermark shows that the data
   * table was set back, and that it holds unfolded transactions of accounts that are others' now.
   */
  readonly drainedTo?: number;
  /** The sequence of `closed`, the last record of its log, where `state` is `closed` or `retired`. */
  readonly closedSequence?: number;
  /** ISO 8601, when it was retired: its stream goes `log_retention` later. */
  readonly retiredAt?: string;
  /** Its stream is gone. */
  readonly logDeleted?: boolean;
  /** What is missing, where `state` is `damaged` or `failed`: a sentence for a person. */
  readonly reason?: string;
}

export interface NodeEntry {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  /** ISO 8601, when the node last registered. */
  readonly since: string;
  /** Random, new at each start: of two nodes with one name only the one that registered last may go on. */
  readonly session?: string;
  /** An operator wants to stop it: its shards go to other nodes. A start clears it. */
  readonly draining?: boolean;
}

/** A shard that no longer accepts for some slots, but whose log still holds unfolded transactions of them. */
export interface Draining {
  readonly shard: number;
  readonly pool: Pool;
  readonly slots: readonly SlotSpan[];
  /** The sequence of its `sealed` event: the entry goes once its watermark is at or past this. */
  readonly sealedSequence: number;
}

export interface SlotSpan {
  readonly from: number;
  readonly to: number;
}

export type MigrationState = 'copying' | 'committed' | 'aborted';

export interface Migration {
  readonly id: number;
  readonly pool: Pool;
  readonly slots: readonly SlotSpan[];
  readonly source: number;
  readonly target: number;
  readonly state: MigrationState;
}

/**
 * The one document that says who owns what. Changed only by compare-and-set; `epoch` grows with every change.
 * Kept as JSON in a JetStream key-value bucket.
 */
export interface Topology {
  readonly format: 1;
  readonly epoch: number;
  /** Name of the hash and number of slots: they stand here so that no reader guesses, and never change. */
  readonly hash: 'xxh64';
  readonly slotCount: 1024;
  /** Decimal string, fixed at the first start. */
  readonly largeThreshold: string;
  /** Type of the data table's id column: an account must be written as that column writes it. */
  readonly accountType: TableMapping['idType'];
  /** Where amounts go and what a unit is, fixed at the first start: another table or unit would make every sum wrong. */
  readonly dataTable?: Omit<TableMapping, 'idType' | 'createAccounts'>;
  /** 32 bytes in hexadecimal: keys the hash that indexes ids, so that no client can craft collisions. */
  readonly secret: string;
  readonly nextShard: number;
  readonly nextMigration: number;
  readonly nodes: readonly NodeEntry[];
  readonly shards: readonly ShardEntry[];
  /** Per pool: ascending, gapless ranges over all slots. */
  readonly owners: Readonly<Record<Pool, readonly SlotRange[]>>;
  readonly draining: readonly Draining[];
  readonly migrations: readonly Migration[];
}
