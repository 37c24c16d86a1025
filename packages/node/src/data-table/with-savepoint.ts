import type pg from 'pg';
import { classifyError, portError } from './classify-error.js';

/**
 * Runs `work` under a savepoint: where it fails, the transaction is as it was before, and the error is thrown on.
 */
export async function withSavepoint<T>(client: pg.PoolClient, name: string, work: () => Promise<T>): Promise<T> {
  await client.query(`SAVEPOINT ${name}`);
  let value: T;
  try {
    value = await work();
  } catch (error) {
    // Nobody is there to roll anything back; asking would only wait for the time-out once more. As the port's error,
    // which ends the whole transaction: no caller may go on as if this had been undone.
    if (classifyError(error) === 'unavailable') throw portError(error);
    try {
      await client.query(`ROLLBACK TO SAVEPOINT ${name}; RELEASE SAVEPOINT ${name}`);
    } catch (failed) {
      if (error instanceof Error && error.cause === undefined) error.cause = failed;
    }
    throw error;
  }
  await client.query(`RELEASE SAVEPOINT ${name}`);
  return value;
}
