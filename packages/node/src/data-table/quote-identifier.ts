/** An SQL identifier, quoted: `order` → `"order"`. */
export function quoteIdentifier(name: string): string {
  return `"${name.replaceAll('"', '""')}"`;
}

/** A table name as the mapping gives it, possibly with its schema: `bank.accounts` → `"bank"."accounts"`. */
export function quoteTable(table: string): string {
  return table.split('.').map(quoteIdentifier).join('.');
}

/** An SQL text literal. Only for DDL, where parameters are not allowed. */
export function quoteLiteral(text: string): string {
  return `'${text.replaceAll("'", "''")}'`;
}

/**
 * SQL that gives the oid of a table, or NULL. A qualified name is looked up in the catalog, since to_regclass fails where
 * the connected role may not use the schema, and that is just what may have to be told.
 */
export function tableOid(table: string): string {
  const [first, second] = table.split('.');
  if (second === undefined) return `to_regclass(${quoteLiteral(quoteTable(table))})::oid`;
  return `(SELECT c.oid FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    WHERE n.nspname = ${quoteLiteral(first!)} AND c.relname = ${quoteLiteral(second)})`;
}
