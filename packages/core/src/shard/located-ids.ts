import type { Batch } from '../transaction/batch.js';
import type { KnownIds } from './known-ids.js';

/** Where the ids of a batch lie, and their hashes: worked out once by `decide`, used again by `evolve`. */
export interface LocatedIds {
  /** One more than there are rows: the id of row i lies in [starts[i], starts[i + 1]). */
  readonly starts: Uint32Array;
  readonly hashes: Uint32Array;
}

export function locateIds(known: KnownIds, batch: Batch): LocatedIds {
  const { rows, bytes, idLengthsAt } = batch;
  const starts = new Uint32Array(rows + 1);
  const hashes = new Uint32Array(rows);
  let at = batch.idsAt;
  starts[0] = at;
  for (let row = 0; row < rows; row++) {
    const to = at + (bytes[idLengthsAt + row] as number);
    hashes[row] = known.hash(bytes, at, to);
    starts[row + 1] = to;
    at = to;
  }
  return { starts, hashes };
}
