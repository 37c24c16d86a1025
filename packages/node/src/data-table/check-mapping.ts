import type { TableMapping } from '@spill/core';
import type pg from 'pg';
import { tableOid } from './quote-identifier.js';

const ID_TYPES: Record<string, TableMapping['idType']> = {
  text: 'text',
  varchar: 'varchar',
  int4: 'int4',
  int8: 'int8',
  uuid: 'uuid',
};

interface Column {
  readonly type: string;
  readonly typmod: number;
  readonly collation: string | null;
  readonly deterministic: boolean | null;
  readonly generated: boolean;
  readonly number: number;
}

/**
 * What is wrong between the mapping and the user's table; empty: nothing. Each sentence names the way out. Only what
 * could lose or mix up money is refused: what two spellings of one account could do, or a rounding, or an overflow
 * that a narrower column would hide.
 */
export async function checkMapping(pool: pg.Pool, mapping: TableMapping): Promise<string[]> {
  const found = await pool.query(
    `SELECT c.oid::text AS oid, c.relkind FROM pg_class c WHERE c.oid = ${tableOid(mapping.table)}`,
  );
  const table = found.rows[0];
  if (table === undefined) {
    return [`table ${mapping.table} does not exist in this database: create it, or name the right one in table`];
  }
  if (table.relkind !== 'r' && table.relkind !== 'p') {
    return [`${mapping.table} is no ordinary or partitioned table: name the table behind it`];
  }
  const columns = await readColumns(pool, table.oid);
  return [
    ...(await checkIdColumn(pool, mapping, table.oid, columns.get(mapping.idColumn))),
    ...checkBalanceColumn(mapping, columns.get(mapping.balanceColumn)),
  ];
}

async function readColumns(pool: pg.Pool, oid: string): Promise<Map<string, Column>> {
  const result = await pool.query(
    `SELECT a.attname, a.attnum, a.atttypmod, a.attgenerated <> '' AS generated,
       CASE WHEN t.typnamespace = 'pg_catalog'::regnamespace THEN t.typname ELSE t.oid::regtype::text END AS type,
       l.collname, l.collisdeterministic
     FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid LEFT JOIN pg_collation l ON l.oid = a.attcollation
     WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped`,
    [oid],
  );
  return new Map(
    result.rows.map((row) => [
      row.attname as string,
      {
        type: row.type,
        typmod: row.atttypmod,
        collation: row.collname,
        deterministic: row.collisdeterministic,
        generated: row.generated,
        number: row.attnum,
      },
    ]),
  );
}

async function checkIdColumn(
  pool: pg.Pool,
  mapping: TableMapping,
  oid: string,
  column: Column | undefined,
): Promise<string[]> {
  const name = `${mapping.table}.${mapping.idColumn}`;
  if (column === undefined) {
    return [`${mapping.table} has no column ${mapping.idColumn}: name the id column in id_column`];
  }
  const problems: string[] = [];
  const type = ID_TYPES[column.type];
  if (type === undefined) {
    problems.push(`${name} is of type ${column.type}; an id column must be text, varchar, int4, int8 or uuid`);
  } else if (type !== mapping.idType) {
    problems.push(`${name} is of type ${type}, the mapping says ${mapping.idType}: set id_type to ${type}`);
  }
  if (column.deterministic === false) {
    problems.push(
      `${name} has the nondeterministic collation ${column.collation}, under which two texts can be one row: ` +
        'give the column a deterministic one (COLLATE "C")',
    );
  }
  const unique = await pool.query(
    `SELECT FROM pg_index WHERE indrelid = $1::oid AND indisunique AND indisvalid AND indpred IS NULL
       AND indnkeyatts = 1 AND indkey[0] = $2`,
    [oid, column.number],
  );
  if (unique.rowCount === 0) {
    problems.push(
      `${name} is neither primary key nor unique, so that one account could have two rows: add a unique constraint`,
    );
  }
  return problems;
}

function checkBalanceColumn(mapping: TableMapping, column: Column | undefined): string[] {
  const name = `${mapping.table}.${mapping.balanceColumn}`;
  if (column === undefined) {
    return [`${mapping.table} has no column ${mapping.balanceColumn}: name the balance column in balance_column`];
  }
  const problems: string[] = [];
  if (column.type !== 'int8' && column.type !== 'numeric') {
    problems.push(`${name} is of type ${column.type}; a balance column must be int8 (bigint) or numeric`);
  } else if (column.type !== mapping.balanceType) {
    problems.push(
      `${name} is of type ${column.type}, the mapping says ${mapping.balanceType}: set balance_type to ${column.type}`,
    );
  }
  if (column.generated) problems.push(`${name} is a generated column, which can't be added to`);
  if (mapping.balanceType === 'int8' && mapping.minorUnits !== 0) {
    problems.push(`minor_units is ${mapping.minorUnits}, but ${name} is an integer: set it to 0`);
  }
  const scale = numericScale(column);
  if (scale !== null && scale < mapping.minorUnits) {
    problems.push(
      `${name} keeps ${scale} decimal places, the mapping's minor_units is ${mapping.minorUnits}: amounts would be ` +
        `rounded; widen the column or set minor_units to at most ${scale}`,
    );
  }
  return problems;
}

/** Decimal places that a numeric column keeps; null: as many as are given. The scale is 11 bits, signed. */
function numericScale(column: Column): number | null {
  if (column.type !== 'numeric' || column.typmod < 4) return null;
  const bits = (column.typmod - 4) & 0x7ff;
  return bits >= 0x400 ? bits - 0x800 : bits;
}
