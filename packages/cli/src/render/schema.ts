import type { SchemaStatement } from '@spill/core';

/** Statements as a script that `psql` takes, each under its reason. */
export function renderSchema(statements: readonly SchemaStatement[]): string {
  return statements
    .map(({ sql, why }) => `-- ${why.replaceAll('\n', '\n-- ')}\n${terminated(sql.trim())}\n`)
    .join('\n');
}

function terminated(sql: string): string {
  return sql.endsWith(';') ? sql : `${sql};`;
}
