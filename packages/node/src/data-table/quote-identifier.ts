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
