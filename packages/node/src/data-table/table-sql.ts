import type { TableMapping } from '@spill/core';
import { quoteIdentifier, quoteTable } from './quote-identifier.js';

/** The pieces of SQL that depend on the mapping. `t` is the alias of the user's table everywhere. */
export interface TableSql {
  /** `"bank"."accounts"` */
  readonly table: string;
  /** `"id"`, `"balance"`: without alias, for column lists. */
  readonly idColumn: string;
  readonly balanceColumn: string;
  /** The array type that accounts are sent as: `text[]`, `int8[]`, `uuid[]`. */
  readonly keyArray: string;
  /** The id as the account's canonical text, compared by bytes. */
  readonly account: string;
  /** The balance in minor units, as numeric; may hold a fraction. */
  readonly minorUnits: string;
  /** Whether the balance is a number that can be added to: not NULL, NaN or infinite. */
  readonly usable: string;
  /** The balance column after adding the minor units in `d.delta`, an int8. */
  readonly addInt8: string;
  /** The same for a numeric `d.delta`, for sums beyond 64 bits. */
  readonly addNumeric: string;
}

export function tableSql(mapping: TableMapping): TableSql {
  const id = `t.${quoteIdentifier(mapping.idColumn)}`;
  const balance = `t.${quoteIdentifier(mapping.balanceColumn)}`;
  const scale = mapping.balanceType === 'numeric' ? mapping.minorUnits : 0;
  const perMajor = `1${'0'.repeat(scale)}`;
  const minor = scale === 0 ? '1' : `0.${'0'.repeat(scale - 1)}1`;
  return {
    table: quoteTable(mapping.table),
    idColumn: quoteIdentifier(mapping.idColumn),
    balanceColumn: quoteIdentifier(mapping.balanceColumn),
    keyArray: mapping.idType === 'varchar' ? 'text[]' : `${mapping.idType}[]`,
    account: `${id}::text COLLATE "C"`,
    minorUnits: scale === 0 ? `${balance}::numeric` : `(${balance} * ${perMajor})`,
    usable:
      mapping.balanceType === 'int8'
        ? `${balance} IS NOT NULL`
        : `${balance} > '-Infinity' AND ${balance} < 'Infinity'`,
    addInt8:
      mapping.balanceType === 'int8' ? `${balance} + d.delta` : `${balance} + d.delta::numeric * ${minor}::numeric`,
    addNumeric:
      mapping.balanceType === 'int8'
        ? `(${balance}::numeric + d.delta)::int8`
        : `${balance} + d.delta * ${minor}::numeric`,
  };
}
