import { BatchBuilder, type IdHashKey, type KnownIds, locateKeys, readBatch } from '@spill/core';

export interface KnownRow {
  readonly account: string;
  readonly id: string;
  readonly amount: bigint;
  readonly timestamp: number;
}

/** Adds transactions of record `sequence`. `hash`: of their keys, in the place of their own, to have them meet. */
export function addKnown(
  known: KnownIds,
  key: IdHashKey,
  rows: readonly KnownRow[],
  sequence: number,
  hash?: (row: KnownRow) => number,
): void {
  const builder = new BatchBuilder(rows.length);
  for (const { account, id, amount, timestamp } of rows) builder.add(account, id, amount, timestamp, false);
  const batch = readBatch(builder.finish(), true);
  const keys = locateKeys(key, batch);
  const hashes = hash ? Uint32Array.from(rows, hash) : keys.hashes;
  known.addRows(batch, null, sequence, { ...keys, hashes });
}
