import type { DataTable, Topology, Witness } from '@spill/core';
import type { LogMessage } from '../nats/log.js';

/** A shard's log, to be read only. Every method rejects with `LogMissingError` where there is no stream. */
export interface ReadableLog {
  info(): Promise<{ firstSequence: number; lastSequence: number; problems: readonly string[] }>;
  last(): Promise<LogMessage | null>;
  get(sequence: number): Promise<LogMessage | null>;
  read(from: number, to: number): AsyncIterable<LogMessage>;
}

export type VerifyTable = Pick<
  DataTable,
  'foldTotals' | 'ledgerTotals' | 'ledgerOfLog' | 'conflictsOfLog' | 'ledger' | 'accountTotals' | 'listConflicts'
>;

export interface VerifyProgress {
  readonly shard: number;
  /** How far its log is read, and to where it is to be read. */
  readonly sequence: number;
  readonly to: number;
  /** Transactions compared so far, of all shards. */
  readonly checked: number;
}

export interface VerifyPorts {
  topology(): Promise<Topology>;
  openLog(shard: number): Promise<ReadableLog>;
  /** The last acknowledged record that somebody outside the log remembers. */
  witness(shard: number): Promise<Witness | null>;
  readonly table: VerifyTable;
  /** null: all. */
  readonly accounts: readonly string[] | null;
  onProgress?(progress: VerifyProgress): void;
  readonly signal?: AbortSignal;
}
