/**
 * Everything around one shard's log that its writers meet: the stream, the topology's entry, the witnesses on two
 * nodes, the clients; and what must hold of it all.
 */
import {
  type initialShardState,
  isAccepted,
  readRecord,
  recordHash,
  type ShardIdentity,
  type Witness,
} from '@spill/core';
import { rowsOf } from './batch-rows.js';
import { JetStreamModel } from './jetstream-model.js';
import type { LogWriter } from './log-writer.js';

/** The rules that make the log safe. Each can be taken out, to see what goes wrong without it. */
export interface LogRules {
  readonly recordsInFlight: number;
  readonly fencesRecords: boolean;
  readonly answersAfterAck: boolean;
  readonly writesOpened: boolean;
  readonly readsAfterOpened: boolean;
  readonly readsWitnesses: boolean;
  readonly readsWitnessesBeforeOpened: boolean;
  readonly comparesWitnessHashes: boolean;
  readonly namesWitnessesByAssignment: boolean;
  readonly keepsEarlierWitnessesUntilSynced: boolean;
  readonly readsTopologyAfterLast: boolean;
  readonly reportsAsNewestOnly: boolean;
  readonly repairsUnderNewLogId: boolean;
}

export const ALL_RULES: LogRules = {
  recordsInFlight: 1,
  fencesRecords: true,
  answersAfterAck: true,
  writesOpened: true,
  readsAfterOpened: true,
  readsWitnesses: true,
  readsWitnessesBeforeOpened: true,
  comparesWitnessHashes: true,
  namesWitnessesByAssignment: true,
  keepsEarlierWitnessesUntilSynced: true,
  readsTopologyAfterLast: true,
  reportsAsNewestOnly: true,
  repairsUnderNewLogId: true,
};

export interface NodeModel {
  /** Files by assignment, and what of them a power failure would leave. */
  files: Map<number, Witness>;
  syncedFiles: Map<number, Witness>;
  heartbeat: Witness | null;
  /** What a node that does everything right remembers: kept here, not by the writers. */
  remembers: Map<number, Witness>;
  syncedRemembers: Map<number, Witness>;
}

export const IDENTITY: ShardIdentity = {
  shard: 1,
  pool: 'credit',
  largeThreshold: 1_000_000n,
  idHashKey: { k0: 1, k1: 2 },
  slotOf: () => 0,
  segmentEntries: 8,
};

export type State = ReturnType<typeof initialShardState>;

export class LogWorld {
  readonly stream = new JetStreamModel<LogWriter>();
  readonly nodes: NodeModel[] = [0, 1].map(() => ({
    files: new Map(),
    syncedFiles: new Map(),
    heartbeat: null,
    remembers: new Map(),
    syncedRemembers: new Map(),
  }));
  readonly writers: LogWriter[] = [];
  logId = 'a'.repeat(32);
  assignment = 0;
  damaged: string | null = null;
  /** Somebody has tampered with the stream since the last repair. */
  tampered = false;
  /** Ids that a client was told are stored. */
  readonly acknowledged = new Set<string>();
  /** Every record that the stream ever stored, by hash. */
  private readonly archive = new Map<string, { readonly previous: string; readonly ids: readonly string[] }>();

  constructor(readonly rules: LogRules) {}

  /** Called for each record that the stream has stored. */
  stored(bytes: Uint8Array): void {
    const record = readRecord(bytes);
    this.archive.set(recordHash(bytes), { previous: record.previous, ids: idsOf(bytes) });
  }

  /** A shard's answer reaches its client. */
  answer(id: string, status: 'stored' | 'duplicate', assignment: number): void {
    const everStored = [...this.archive.values()].some((record) => record.ids.includes(id));
    if (!everStored) throw new Error(`${id} was answered ${status} by assignment ${assignment} and is stored nowhere`);
    this.acknowledged.add(id);
  }

  /** A reader follows the topology: whoever has the newest assignment and serves must know all that was acknowledged. */
  read(writer: LogWriter): void {
    if (this.tampered || writer.assignment !== this.assignment || writer.phase !== 'serving') return;
    const known = writer.knownIds();
    for (const id of this.acknowledged) {
      if (!known.has(id))
        throw new Error(`${id} is acknowledged, and assignment ${writer.assignment} does not know it`);
    }
  }

  report(damage: string, assignment: number): void {
    // By compare-and-set on the topology's entry: whoever has a successor has nothing to say.
    if (this.rules.reportsAsNewestOnly && assignment !== this.assignment) return;
    if (!this.tampered) throw new Error(`a healthy log was called damaged by assignment ${assignment}: ${damage}`);
    this.damaged ??= damage;
  }

  powerFailure(): void {
    for (const writer of this.writers) writer.die();
    for (const node of this.nodes) {
      node.files = new Map(node.syncedFiles);
      node.remembers = new Map(node.syncedRemembers);
      node.heartbeat = null;
    }
  }

  /** Each second, files are synced; only then the earlier ones are superfluous. */
  second(): void {
    for (const node of this.nodes) {
      this.removeWitnessesBefore(node, Math.max(...node.files.keys()));
      node.syncedFiles = new Map(node.files);
      node.syncedRemembers = new Map(node.remembers);
    }
  }

  removeWitnessesBefore(node: NodeModel, assignment: number): void {
    for (const files of [node.files, node.syncedFiles]) {
      for (const earlier of [...files.keys()]) if (earlier < assignment) files.delete(earlier);
    }
  }

  /**
   * The acknowledged ids that the newest witness of a node vouches for, as seen by assignment `before`. The highest
   * assignment counts: who wrote it has seen that the log still held what the ones before remembered.
   */
  remembered(node: number, before: number): ReadonlySet<string> {
    const { remembers } = this.nodes[node] as NodeModel;
    const newest = Math.max(...[...remembers.keys()].filter((assignment) => assignment < before));
    const witness = remembers.get(newest);
    const ids = witness?.logId === this.logId ? this.idsUpTo(witness.hash) : [];
    return new Set(ids.filter((id) => this.acknowledged.has(id)));
  }

  /** A writer has opened the log and serves: what its node remembered when it began must be there. */
  serves(node: number, remembered: ReadonlySet<string>): void {
    const there = new Set(this.stream.read().flatMap(({ bytes }) => idsOf(bytes)));
    for (const id of remembered) {
      if (!there.has(id)) throw new Error(`${id} is lost, node ${node} remembers it, and nobody was told`);
    }
  }

  /** What must hold once a last writer has opened the log and serves. */
  check(): void {
    const records = this.stream.read().map(({ sequence, bytes }) => ({ sequence, bytes, record: readRecord(bytes) }));
    const seen = new Map<string, number>();
    let owner = 0;
    let late: string | null = null;
    for (const { sequence, bytes, record } of records) {
      for (const id of idsOf(bytes)) {
        if (seen.has(id)) throw new Error(`${id} is stored twice, in records ${seen.get(id)} and ${sequence}`);
        seen.set(id, sequence);
      }
      // What landed in a log that had lost something is on record with the repair.
      if (record.events[0]?.type === 'rebased') late = null;
      if (record.assignment < owner) {
        late = `record ${sequence} of assignment ${record.assignment} landed after ${owner} had opened`;
      }
      owner = record.assignment;
    }
    if (late) throw new Error(late);
    for (const id of this.acknowledged) {
      if (!seen.has(id) && !this.tampered) throw new Error(`${id} is lost from a log that nobody touched`);
    }
  }

  /** An operator accepts the loss: what is gone is not expected any more. */
  acceptLoss(): void {
    const there = new Set(this.stream.read().flatMap(({ bytes }) => idsOf(bytes)));
    for (const id of this.acknowledged) if (!there.has(id)) this.acknowledged.delete(id);
    this.damaged = null;
    this.tampered = false;
  }

  private idsUpTo(hash: string): string[] {
    const ids: string[] = [];
    for (let at = this.archive.get(hash); at; at = this.archive.get(at.previous)) ids.push(...at.ids);
    return ids;
  }
}

function idsOf(bytes: Uint8Array): string[] {
  return readRecord(bytes).events.flatMap((event) =>
    event.type === 'stored'
      ? rowsOf(event.batch)
          .filter((_, row) => isAccepted(event, row))
          .map((row) => row.id)
      : [],
  );
}
