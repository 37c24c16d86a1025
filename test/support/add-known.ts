import { BatchBuilder, type KnownIds, locateIds, readBatch } from '@spill/core';

export interface KnownRow {
  readonly account: string;
  readonly id: string;
  readonly amount: bigint;
  readonly timestamp: number;
}

/** Adds one transaction of record `sequence`. `idHash`: in the place of its id's own, to have keys meet in the table. */
export function addKnown(known: KnownIds, row: KnownRow, sequence: number, idHash?: (account: string) => number): void {
  const builder = new BatchBuilder();
  builder.add(row.account, row.id, row.amount, row.timestamp, false);
  const batch = readBatch(builder.finish(), true);
  const { starts, hashes } = locateIds(known, batch);
  known.addRows(batch, { starts, hashes: idHash ? Uint32Array.of(idHash(row.account)) : hashes }, null, sequence);
}
