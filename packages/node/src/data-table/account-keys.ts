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
