import type { AccountGroups, FoldRequest } from '@spill/core';
import { isStorableText } from '@spill/core';
import type { Refusal } from './lock-accounts.js';

/** The rows of a fold that the ledger can hold, by their place in the request; the others are kept as conflicts. */
export interface LedgerBatch {
  readonly request: FoldRequest;
  readonly groups: AccountGroups;
  readonly storable: readonly number[];
  readonly unstorable: readonly number[];
  /** By account: why its rows are inserted as set aside. */
  readonly refused: ReadonlyMap<string, Refusal>;
}

export function ledgerBatch(
  request: FoldRequest,
  groups: AccountGroups,
  refused: ReadonlyMap<string, Refusal>,
): LedgerBatch {
  const storable: number[] = [];
  const unstorable: number[] = [];
  const accountStorable = groups.accounts.map(isStorableText);
  for (let row = 0; row < request.rows.length; row += 1) {
    const good = accountStorable[groups.places[row]!] === true && isStorableText(request.rows.ids[row]!);
    (good ? storable : unstorable).push(row);
  }
  return { request, groups, storable, unstorable, refused };
}
