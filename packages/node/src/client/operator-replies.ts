/** Replies to operators' requests, as they stand in the public protocol's JSON. Amounts are decimal strings. */
import type {
  Finding,
  FindingKind,
  MigrationState,
  PlannedAction,
  Pool,
  ShardLifecycle,
  ShardMove,
  SlotRange,
  SlotSpan,
  TableMapping,
} from '@spill/core';

export interface TopologyReply {
  readonly epoch: number;
  readonly hash: string;
  readonly slot_count: number;
  readonly large_threshold: string;
  /** Of the id column: how accounts must be written. */
  readonly account_type: TableMapping['idType'];
  readonly nodes: readonly TopologyNode[];
  readonly shards: readonly TopologyShard[];
  /** Per pool: ascending, gapless ranges; `from` inclusive, `to` exclusive. */
  readonly owners: Readonly<Record<Pool, readonly SlotRange[]>>;
  readonly draining: readonly TopologyDraining[];
  readonly migrations: readonly TopologyMigration[];
}

export interface TopologyNode {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  /** ISO 8601. */
  readonly since: string;
  /** Whether it was heard of lately. */
  readonly alive?: boolean;
  /** Its shards go to other nodes. */
  readonly draining?: boolean;
}

export interface TopologyShard {
  readonly id: number;
  readonly pool: Pool;
  readonly node: string;
  readonly assignment: number;
  readonly state: ShardLifecycle;
  readonly replicas: number;
  readonly log_id: string;
  readonly refolding?: boolean;
  readonly reason?: string;
}

export interface TopologyDraining {
  readonly shard: number;
  readonly pool: Pool;
  readonly slots: readonly SlotSpan[];
  readonly sealed_sequence: number;
}

export interface TopologyMigration {
  readonly id: number;
  readonly pool: Pool;
  readonly slots: readonly SlotSpan[];
  readonly source: number;
  readonly target: number;
  readonly state: MigrationState;
}

/** null: nothing to say yet. */
export interface ProcessPerformance {
  readonly node: string;
  readonly role: 'router' | 'shard';
  readonly pid: number | null;
  readonly state: string;
  readonly cpu_percent: number | null;
  readonly memory_bytes: number | null;
  readonly read_bytes_per_s: number | null;
  readonly write_bytes_per_s: number | null;
}

export interface ShardPerformance extends ProcessPerformance {
  readonly shard: number;
  readonly transactions_per_s: number | null;
  readonly commit_p50_ms: number | null;
  readonly commit_p99_ms: number | null;
  readonly queued: number | null;
  /** Stored, not folded yet. */
  readonly pending: number | null;
  readonly pending_bytes: number | null;
  readonly fold_lag_ms: number | null;
  readonly fold_error: string | null;
  readonly known: number | null;
  readonly sequence: number | null;
  readonly watermark: number | null;
  /** Microseconds since 1970: what is unknown and older is looked up in the ledger. */
  readonly horizon: number | null;
  readonly set_aside: number | null;
  readonly conflicts: number | null;
  /** How long its process took to read its log when it started. */
  readonly replay_ms: number | null;
  readonly reason: string | null;
  /** The heaviest slots and accounts, in transactions a second. */
  readonly hot_slots: readonly (readonly [slot: number, rate: number])[] | null;
  readonly hot_accounts: readonly (readonly [account: string, rate: number])[] | null;
}

/** `create_shard`, `delete_shard` or `move_slots`, with why. The shard that is to be made has no number yet. */
export type PlannedActionReply = PlannedAction;

/**
 * What was done, with why: what was planned (a shard that was made has its number; records of earlier versions may lack
 * it), and what only placement (`reassign_shard`, between two nodes) or an operator (`remove_node`) does.
 */
export type ActionReply =
  | (Extract<PlannedAction, { action: 'create_shard' }> & { readonly shard?: number })
  | Exclude<PlannedAction, { action: 'create_shard' }>
  | ({ readonly action: 'reassign_shard' } & ShardMove)
  | { readonly action: 'remove_node'; readonly node: string; readonly reason: string };

export interface RebalanceReply {
  readonly dry_run: boolean;
  readonly actions: readonly PlannedActionReply[];
  /** Why a pool is left alone. */
  readonly notes: readonly string[];
}

/** An action as it is put on record. */
export interface RecordedAction {
  /** ISO 8601. */
  readonly at: string;
  /** The supervisor that did it by itself, or the operator who asked for it. */
  readonly by: string;
  readonly action: ActionReply;
  /** What was measured when it was planned; none where it was not planned. `cpu` and `memory` as fractions. */
  readonly figures: readonly {
    readonly shard: number;
    readonly cpu: number;
    readonly memory: number;
    readonly rate: number;
  }[];
}

export interface ActionsReply {
  /** The newest first. */
  readonly actions: readonly RecordedAction[];
}

export interface PerformanceReply {
  /** A node that did not answer has no figures here. */
  readonly nodes: readonly { readonly name: string; readonly answered: boolean }[];
  readonly processes: readonly ProcessPerformance[];
  readonly shards: readonly ShardPerformance[];
}

export interface ShardLocation {
  readonly shard: number;
  readonly node: string;
  /** null: its process does not answer. */
  readonly pid: number | null;
  readonly subject: string;
  readonly stream: string;
  readonly replicas: number;
  readonly assignment: number;
  readonly epoch: number;
}

export interface FoldReply {
  readonly folded: number;
  readonly set_aside: number;
}

/** A kind of finding: how many, and under `examples` the first 100. */
export interface VerifyReply extends Readonly<Record<FindingKind, number>> {
  /** Transactions of the logs that were compared with the database. */
  readonly checked: number;
  readonly accounts: number;
  /** Transactions that are stored and not folded yet. */
  readonly pending: number;
  /** Nothing lost, duplicated, mismatched or damaged. Conflicts and drift are for somebody to look at. */
  readonly ok: boolean;
  readonly examples: Readonly<Record<FindingKind, readonly Finding[]>>;
  /** Losses that operators accepted when they repaired a log. In no count. */
  readonly accepted_losses: readonly VerifyAcceptedLoss[];
}

export interface VerifyAcceptedLoss {
  readonly shard: number;
  readonly lost: string;
  readonly who: string;
  readonly why: string;
}
