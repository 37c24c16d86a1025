/**
 * The decisions of a shard about slots that move. Pure, as `decide` is: each reads the state and names events. The
 * topology's word on the migration has been read, from the stream's leader, after the message that asks came.
 */

import type { Migration, MigrationState } from '../topology/topology.js';
import {
  type Batch,
  BatchBuilder,
  batchAccount,
  batchAmount,
  batchStamped,
  batchTimestamp,
  readBatch,
} from '../transaction/batch.js';
import type { Certificate, ShardEvent } from './events.js';
import { NONE } from './known-ids.js';
import type { ShardState } from './state.js';

/** A chunk of a source's stream: rows and where each was stored first. */
export interface AdoptionChunk {
  readonly batch: Batch;
  readonly shards: Uint32Array;
  readonly sequences: Float64Array;
}

/**
 * What of a chunk is new to the target. Nothing once the outcome of the migration is logged, or where the topology does
 * not say `copying`: a late chunk is nobody's.
 */
export function decideAdoption(state: ShardState, migration: Migration, chunk: AdoptionChunk): ShardEvent[] {
  if (migration.state !== 'copying' || migration.target !== state.shard) return [];
  if (state.small.settled.includes(migration.id)) return [];
  const { batch } = chunk;
  const fresh: number[] = [];
  let idAt = batch.idsAt;
  for (let row = 0; row < batch.rows; row++) {
    const idTo = idAt + (batch.bytes[batch.idLengthsAt + row] as number);
    if (!isKnown(state, batch.accounts[batchAccount(batch, row)] as string, batch.bytes, idAt, idTo)) fresh.push(row);
    idAt = idTo;
  }
  if (fresh.length === 0) return [];
  const { id, slots } = migration;
  if (fresh.length === batch.rows) return [{ type: 'adopted', migration: id, slots, ...chunk }];
  return [{ type: 'adopted', migration: id, slots, ...selectRows(chunk, fresh) }];
}

/** The source stops accepting for the slots: only while the topology says `copying`, and once. */
export function decideSeal(
  state: ShardState,
  migration: Migration | undefined,
  certificate: Certificate,
): ShardEvent[] {
  if (migration?.state !== 'copying' || migration.source !== state.shard) return [];
  const { id, slots } = migration;
  const { seals, settled } = state.small;
  if (settled.includes(id) || seals.some((seal) => seal.migration === id)) return [];
  return [{ type: 'sealed', migration: id, slots, ...certificate }];
}

/** Everything up to the seal is adopted. */
export function decideReady(
  state: ShardState,
  migration: Migration | undefined,
  certificate: Certificate,
): ShardEvent[] {
  if (migration?.state !== 'copying' || migration.target !== state.shard) return [];
  const { id, slots } = migration;
  const { adoptions, settled } = state.small;
  if (settled.includes(id) || adoptions.some((mark) => mark.migration === id && mark.ready !== null)) return [];
  return [{ type: 'ready', migration: id, slots, ...certificate }];
}

/** The topology's word on the migrations that a shard is part of, where its log does not hold it yet. */
export function decideSettled(state: ShardState, migrations: readonly Migration[]): ShardEvent[] {
  const outcomes: Readonly<Record<MigrationState, 'committed' | 'aborted' | null>> = {
    copying: null,
    committed: 'committed',
    aborted: 'aborted',
  };
  return migrations.flatMap((migration): ShardEvent[] => {
    const outcome = outcomes[migration.state];
    const mine = migration.source === state.shard || migration.target === state.shard;
    if (!mine || outcome === null || state.small.settled.includes(migration.id)) return [];
    return [{ type: 'settled', migration: migration.id, outcome }];
  });
}

function isKnown(state: ShardState, account: string, bytes: Uint8Array, from: number, to: number): boolean {
  const hash = state.known.hash(bytes, from, to);
  const number = state.known.accountNumber(account);
  if (number >= 0 && state.known.find(number, hash, bytes, from, to) !== NONE) return true;
  for (const adoption of state.adoptions.values()) {
    if (adoption.find(account, hash, bytes, from, to)) return true;
  }
  return false;
}

function selectRows(chunk: AdoptionChunk, rows: readonly number[]): AdoptionChunk {
  const { batch } = chunk;
  const builder = new BatchBuilder(rows.length);
  const wanted = new Set(rows);
  let idAt = batch.idsAt;
  for (let row = 0; row < batch.rows; row++) {
    const idTo = idAt + (batch.bytes[batch.idLengthsAt + row] as number);
    if (wanted.has(row)) {
      const id = Buffer.from(batch.bytes.buffer, batch.bytes.byteOffset + idAt, idTo - idAt).toString('utf8');
      const account = batch.accounts[batchAccount(batch, row)] as string;
      builder.add(account, id, batchAmount(batch, row), batchTimestamp(batch, row), batchStamped(batch, row));
    }
    idAt = idTo;
  }
  return {
    batch: readBatch(builder.finish(), true),
    shards: Uint32Array.from(rows, (row) => chunk.shards[row] as number),
    sequences: Float64Array.from(rows, (row) => chunk.sequences[row] as number),
  };
}
