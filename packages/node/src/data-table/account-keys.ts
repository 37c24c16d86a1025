import type { TableMapping } from '@spill/core';
import { int4Array, int8Array, textArray } from './binary-array.js';

/** Canonical accounts as one array parameter of the id column's type. */
export function accountKeys(accounts: readonly string[], mapping: TableMapping): Buffer | string {
  switch (mapping.idType) {
    case 'text':
    case 'varchar':
      return textArray(accounts);
    case 'int8':
      return int8Array(accounts.map(BigInt));
    case 'int4':
      return int4Array(accounts.map(Number));
    case 'uuid':
      return `{${accounts.join(',')}}`;
  }
}

const BY_INDEX_MAX = 50_000;

/**
 * An array parameter of so many accounts, or of something for each, in SQL. From two up to a number, the planner is not
 * to see how many: it would rather read a table of a million rows whole than find 10,000 of them by its index, which
 * takes a third as long where the rows are in memory, as those of accounts in use are.
 */
export function accountsParameter(number: number, type: string, count: number): string {
  const parameter = `$${number}::${type}`;
  return count > 1 && count <= BY_INDEX_MAX ? `(SELECT ${parameter})::${type}` : parameter;
}
