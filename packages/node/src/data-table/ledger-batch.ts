import type { AccountGroups, FoldRequest, FoldRows } from '@spill/core';
import { isStorableText } from '@spill/core';
import { int4Array, int8Array, safeIntegerArray, textArray, timestampArray } from './binary-array.js';
import type { Refusal } from './lock-accounts.js';

/** The rows of a fold that the ledger can hold, by their place in the request; the others are kept as conflicts. */
export interface LedgerBatch {
  readonly request: FoldRequest;
  readonly groups: AccountGroups;
  readonly storable: readonly number[];
  readonly unstorable: readonly number[];
  /** By account: why its rows are inserted as set aside, without a try. */
  readonly refused: ReadonlyMap<string, Refusal>;
}

/** Some milliseconds' work. */
const ROWS_A_STEP = 8_192;

/** In steps, as `groupByAccount`. `untried`: why an account is not even tried; null: it is. */
export function* ledgerBatch(
  request: FoldRequest,
  groups: AccountGroups,
  untried: (account: string) => Refusal | null,
): Generator<undefined, LedgerBatch> {
  const refused = new Map<string, Refusal>();
  const accountStorable: boolean[] = [];
  for (const account of groups.accounts) {
    if (accountStorable.length % ROWS_A_STEP === 0) yield;
    const isStorable = isStorableText(account);
    accountStorable.push(isStorable);
    const refusal = isStorable ? untried(account) : null;
    if (refusal) refused.set(account, refusal);
  }
  const storable: number[] = [];
  const unstorable: number[] = [];
  for (let row = 0; row < request.rows.length; row += 1) {
    if (row % ROWS_A_STEP === 0) yield;
    const good = accountStorable[groups.places[row]!] === true && isStorableText(request.rows.ids[row]!);
    (good ? storable : unstorable).push(row);
  }
  return { request, groups, storable, unstorable, refused };
}

const ROWS_A_STATEMENT = 20_000;

/** Rows, as many at a time as the parameters of one statement take, which are made in one go. */
export function* inParts(rows: readonly number[]): Generator<readonly number[]> {
  for (let from = 0; from < rows.length; from += ROWS_A_STATEMENT) yield rows.slice(from, from + ROWS_A_STATEMENT);
}

/** Some rows as parameters for `unnest`: account, id, amount, timestamp, sequence, record_index. */
export function rowParameters(rows: FoldRows, part: readonly number[]): (Buffer | string)[] {
  return [
    textArray(part.map((row) => rows.accounts[row]!)),
    textArray(part.map((row) => rows.ids[row]!)),
    int8Array(part.map((row) => rows.amounts[row]!)),
    timestampArray(part.map((row) => rows.timestamps[row]!)),
    safeIntegerArray(part.map((row) => rows.sequences[row]!)),
    int4Array(part.map((row) => rows.indexes[row]!)),
  ];
}
