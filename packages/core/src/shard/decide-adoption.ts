/**
 * The decisions of a shard about slots that move. Pure, as `decide` is: each reads the state and names events. The
 * topology's word on the migration has been read, from the stream's leader, after the message that asks came.
 */

import { spansOverlap } from '../topology/owners.js';
import type { Migration, MigrationState, SlotSpan } from '../topology/topology.js';
import {
  accountName,
  type Batch,
  BatchBuilder,
  batchAccount,
  batchAmount,
  batchStamped,
  batchTimestamp,
  readBatch,
} from '../transaction/batch.js';
import type { AdoptedRows } from './adoption.js';
import type { Certificate, ShardEvent } from './events.js';
import { NONE } from './known-ids.js';
import { locateKeys } from './located-keys.js';
import type { ShardState } from './state.js';

/**
 * What of a chunk is new to the target. Nothing once the outcome of the migration is logged, or where the topology does
 * not say `copying`: a late chunk is nobody's.
 */
export function decideAdoption(state: ShardState, migration: Migration, chunk: AdoptedRows): ShardEvent[] {
  if (migration.state !== 'copying' || migration.target !== state.shard) return [];
  if (state.small.settled.includes(migration.id)) return [];
  const { batch } = chunk;
  const fresh = unknownRows(state, migration.slots, batch);
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

/** The rows that neither this shard stored nor it took over for any of the slots. */
function unknownRows(state: ShardState, slots: readonly SlotSpan[], batch: Batch): number[] {
  const adopted = [...state.adoptions.values()].filter((adoption) => spansOverlap(adoption.slots, slots));
  const knowing = [state.known, ...adopted.map(({ ids }) => ids)];
  // All of them hash with the cluster's key.
  const keys = locateKeys(state.idHashKey, batch);
  const { starts, hashes } = keys;
  const numbers = knowing.map((ids) => ids.accountNumbers(batch, keys).numbers);
  const unknown: number[] = [];
  for (let row = 0; row < batch.rows; row++) {
    const account = batchAccount(batch, row);
    const hash = hashes[row] as number;
    const from = starts[row] as number;
    const to = starts[row + 1] as number;
    let known = false;
    for (let i = 0; i < knowing.length && !known; i++) {
      const number = numbers[i]?.[account] as number;
      known = number >= 0 && knowing[i]?.find(number, hash, batch.bytes, from, to) !== NONE;
    }
    if (!known) unknown.push(row);
  }
  return unknown;
}

function selectRows(chunk: AdoptedRows, rows: readonly number[]): AdoptedRows {
  const { batch } = chunk;
  const builder = new BatchBuilder(rows.length);
  let next = 0;
  let idAt = batch.idsAt;
  for (let row = 0; row < batch.rows; row++) {
    const idTo = idAt + (batch.bytes[batch.idLengthsAt + row] as number);
    if (row === rows[next]) {
      next += 1;
      const account = accountName(batch, batchAccount(batch, row));
      const amount = batchAmount(batch, row);
      builder.addEncoded(
        account,
        batch.bytes,
        idAt,
        idTo,
        amount,
        batchTimestamp(batch, row),
        batchStamped(batch, row),
      );
    }
    idAt = idTo;
  }
  return {
    batch: readBatch(builder.finish(), true),
    shards: Uint32Array.from(rows, (row) => chunk.shards[row] as number),
    sequences: Float64Array.from(rows, (row) => chunk.sequences[row] as number),
  };
}
