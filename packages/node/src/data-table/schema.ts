import { readdirSync, readFileSync } from 'node:fs';
import { DataTableSchemaError, type SchemaStatement } from '@spill/core';
import type pg from 'pg';
import { checkMapping } from './check-mapping.js';
import type { DataTableContext } from './data-table-context.js';
import { quoteIdentifier, quoteLiteral, tableOid } from './quote-identifier.js';
import { inTransaction, runStatement } from './sql-transaction.js';

/** extract(epoch …) is exact, and unnest of array parameters is planned well, from here on. */
const SERVER_VERSION_MIN = 140_000;
/** Any number that is the same in every spill: two applySchema at once wait for each other. */
const SCHEMA_LOCK = 7_231_480_271;

interface Migration {
  readonly version: number;
  readonly name: string;
  readonly sql: string;
}

function migrations(): Migration[] {
  const folder = new URL('./migrations/', import.meta.url);
  return readdirSync(folder)
    .filter((file) => /^\d{4}-.*\.sql$/.test(file))
    .sort()
    .map((file) => ({
      version: Number(file.slice(0, 4)),
      name: file.slice(5, -4),
      sql: readFileSync(new URL(file, folder), 'utf8'),
    }));
}

/** Everything that stands between this database and a fold; empty: ready. */
export async function checkSchema(context: DataTableContext, role: string | null): Promise<string[]> {
  const problems = [...(await checkServer(context.pool)), ...(await checkMapping(context.pool, context.mapping))];
  const known = migrations().at(-1)!.version;
  const version = await schemaVersion(context.pool);
  if (version === null) {
    const missing = await missingGrants(context, role);
    return [...problems, ...missing.map((grant) => `${grant.why}: ${grant.sql}`)];
  }
  if (version > known) {
    problems.push(`spill's schema is of version ${version}, this spill knows up to ${known}: use a newer spill`);
  } else if (version < known) {
    problems.push(
      version === 0
        ? 'spill has no tables in this database yet: run `spill schema apply`'
        : `spill's schema is of version ${version}, this spill needs ${known}: run \`spill schema apply\``,
    );
  }
  if (problems.length > 0) return problems;
  const missing = await missingGrants(context, role);
  return missing.map((grant) => `${grant.why}: ${grant.sql}`);
}

/** The DDL that is missing, and the GRANTs that `role` (or the connected role) needs and does not have. */
export async function planSchema(context: DataTableContext, role: string | null): Promise<SchemaStatement[]> {
  const version = (await schemaVersion(context.pool)) ?? 0;
  const pending = migrations().filter((migration) => migration.version > version);
  const statements = pending.flatMap((migration) => [
    { sql: migration.sql.trim(), why: `spill's own tables, version ${migration.version} (${migration.name})` },
    {
      sql: `INSERT INTO spill.schema_version (version, name) VALUES (${migration.version}, ${quoteLiteral(migration.name)});`,
      why: 'notes that version as applied',
    },
  ]);
  return [...statements, ...(await grants(context, role, version > 0))];
}

/** Runs the plan in one transaction. Rejects with `DataTableSchemaError` where the mapping does not fit the table. */
export async function applySchema(context: DataTableContext, role: string | null): Promise<void> {
  const problems = [...(await checkServer(context.pool)), ...(await checkMapping(context.pool, context.mapping))];
  if (problems.length > 0) throw new DataTableSchemaError(problems);
  await inTransaction(context.pool, { ...context.limits, lockMsMax: 30_000, statementMsMax: 0 }, async (client) => {
    await client.query(`SELECT pg_advisory_xact_lock(${SCHEMA_LOCK})`);
    // Read again under the lock: another one may just have applied it.
    const version = (await schemaVersion(client)) ?? 0;
    for (const migration of migrations()) {
      if (migration.version <= version) continue;
      await client.query(migration.sql);
      await client.query('INSERT INTO spill.schema_version (version, name) VALUES ($1, $2)', [
        migration.version,
        migration.name,
      ]);
    }
    return { commit: true, value: undefined };
  });
  for (const grant of await missingGrants(context, role)) await runStatement(context.pool, grant.sql);
}

async function checkServer(pool: pg.Pool): Promise<string[]> {
  const result = await runStatement(
    pool,
    `SELECT current_setting('server_version_num')::int AS version, current_setting('server_version') AS text,
       current_setting('server_encoding') AS encoding, pg_is_in_recovery() AS standby`,
  );
  const { version, text, encoding, standby } = result.rows[0];
  const problems: string[] = [];
  if (version < SERVER_VERSION_MIN) problems.push(`PostgreSQL ${text} is too old: use 14 or newer`);
  if (encoding !== 'UTF8') {
    problems.push(`the database's encoding is ${encoding}, which can't hold every id: create one with ENCODING 'UTF8'`);
  }
  if (standby) problems.push('this server is a standby, which takes no writes: connect to the primary');
  return problems;
}

/** 0: no tables of spill. null: they are there, but the connected role may not see them. */
async function schemaVersion(on: pg.Pool | pg.PoolClient): Promise<number | null> {
  // By the catalog's tables, as of now: to_regclass may answer from a cache that a lock on nothing does not refresh.
  const there = await on.query(
    `SELECT count(*) > 0 AS there,
       coalesce(bool_and(has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT')), false) AS seen
     FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
     WHERE n.nspname = 'spill' AND c.relname = 'schema_version'`,
  );
  if (!there.rows[0].there) return 0;
  if (!there.rows[0].seen) return null;
  const result = await on.query('SELECT coalesce(max(version), 0) AS version FROM spill.schema_version');
  return result.rows[0].version;
}

interface Privilege {
  readonly sql: (role: string) => string;
  readonly why: string;
  /** SQL that says whether role $1 has it; only askable once spill's tables are there. */
  readonly has: string;
}

function privileges({ sql, mapping }: DataTableContext): Privilege[] {
  const onTable = mapping.createAccounts ? ['SELECT', 'UPDATE', 'INSERT'] : ['SELECT', 'UPDATE'];
  const table = tableOid(mapping.table);
  const [schema, qualified] = mapping.table.split('.');
  const spillTables = `SELECT coalesce(bool_and(has_table_privilege($1, c.oid, 'SELECT') AND
      has_table_privilege($1, c.oid, 'INSERT') AND has_table_privilege($1, c.oid, 'UPDATE')), false) AS has
    FROM pg_class c WHERE c.relnamespace = to_regnamespace('spill') AND c.relkind IN ('r', 'p')`;
  const useSchema: Privilege = {
    sql: (role) => `GRANT USAGE ON SCHEMA ${quoteIdentifier(schema!)} TO ${role};`,
    why: 'the data table is in that schema',
    has: `SELECT has_schema_privilege($1, ${quoteLiteral(schema!)}, 'USAGE') AS has`,
  };
  return [
    ...(qualified === undefined ? [] : [useSchema]),
    {
      sql: (role) => `GRANT ${onTable.join(', ')} ON ${sql.table} TO ${role};`,
      why: 'a fold reads, locks and changes the rows of the data table',
      has: `SELECT ${onTable.map((privilege) => `has_table_privilege($1, ${table}, '${privilege}')`).join(' AND ')} AS has`,
    },
    {
      sql: (role) => `GRANT USAGE ON SCHEMA spill TO ${role};`,
      why: "spill's own tables are in the schema spill",
      has: `SELECT has_schema_privilege($1, 'spill', 'USAGE') AS has`,
    },
    {
      sql: (role) => `GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA spill TO ${role};`,
      why: 'a fold writes ledger, watermark and what belongs to them; nothing there is ever deleted',
      has: spillTables,
    },
    {
      sql: (role) => `GRANT DELETE ON spill.direct_mark TO ${role};`,
      why: 'marks of direct writes go when a fold has met their id',
      has: `SELECT has_table_privilege($1, ${tableOid('spill.direct_mark')}, 'DELETE') AS has`,
    },
  ];
}

async function grants(
  context: DataTableContext,
  role: string | null,
  tablesThere: boolean,
): Promise<SchemaStatement[]> {
  if (tablesThere) return await missingGrants(context, role);
  const name = role ?? (await connectedRole(context.pool));
  return privileges(context).map((privilege) => ({ sql: privilege.sql(quoteIdentifier(name)), why: privilege.why }));
}

async function missingGrants(context: DataTableContext, role: string | null): Promise<SchemaStatement[]> {
  const name = role ?? (await connectedRole(context.pool));
  const missing: SchemaStatement[] = [];
  for (const privilege of privileges(context)) {
    const result = await runStatement(context.pool, privilege.has, [name]);
    if (result.rows[0].has === true) continue;
    missing.push({ sql: privilege.sql(quoteIdentifier(name)), why: privilege.why });
  }
  return missing;
}

async function connectedRole(pool: pg.Pool): Promise<string> {
  return (await runStatement(pool, 'SELECT current_user AS name')).rows[0].name;
}
