import type pg from 'pg';
import { runStatement } from './sql-transaction.js';

/** The database's clock, microseconds since 1970. */
export async function readClock(pool: pg.Pool): Promise<number> {
  const result = await runStatement(
    pool,
    'SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::int8::text AS now',
  );
  return Number(result.rows[0].now);
}
