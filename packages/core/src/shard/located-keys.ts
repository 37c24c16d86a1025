import { type Batch, batchAccount } from '../transaction/batch.js';
import type { AccountNumbers } from './account-table.js';
import { hashId, type IdHashKey, mixHashes } from './id-hash.js';

/** Where the ids of a batch lie, and the hashes of its keys: worked out once by `decide`, used again by `evolve`. */
export interface LocatedKeys {
  /** One more than there are rows: the id of row i lies in [starts[i], starts[i + 1]). */
  readonly starts: Uint32Array;
  /** Of each row's account and id. */
  readonly hashes: Uint32Array;
  /** Of each account of the batch. */
  readonly accountHashes: Uint32Array;
  /** The numbers of the batch's accounts among the known ones, as `KnownIds.accountNumbers` found them. */
  numbers?: AccountNumbers;
}

export function locateKeys(key: IdHashKey, batch: Batch): LocatedKeys {
  const { rows, bytes, idLengthsAt, accountStarts } = batch;
  const accountHashes = new Uint32Array(batch.accountCount);
  for (let i = 0; i < accountHashes.length; i++) {
    accountHashes[i] = hashId(key, bytes, accountStarts[i] as number, (accountStarts[i + 1] as number) - 1);
  }
  const starts = new Uint32Array(rows + 1);
  const hashes = new Uint32Array(rows);
  let at = batch.idsAt;
  starts[0] = at;
  for (let row = 0; row < rows; row++) {
    const to = at + (bytes[idLengthsAt + row] as number);
    hashes[row] = mixHashes(hashId(key, bytes, at, to), accountHashes[batchAccount(batch, row)] as number);
    starts[row + 1] = to;
    at = to;
  }
  return { starts, hashes, accountHashes };
}
