import { DataTableUnavailableError } from '@spill/core';
import type pg from 'pg';
import { classifyError, describeError, portError } from './classify-error.js';

/** Bounds of a SQL transaction, in milliseconds; 0: none. */
export interface TransactionLimits {
  /** How long one statement may wait for one lock. */
  readonly lockMsMax: number;
  /** How long one statement may run. */
  readonly statementMsMax: number;
  /**
   * After which the server ends a session that holds a transaction and says nothing between two statements (a stopped
   * process). In the middle of a COPY it waits for the rest, until the socket is closed.
   */
  readonly idleMsMax: number;
}

/** What the work of a SQL transaction decided: keep it, or undo it and still return something. */
export type TransactionEnd<T> =
  | { readonly commit: true; readonly value: T }
  | { readonly commit: false; readonly value: T };

/**
 * Runs `work` in one SQL transaction, READ COMMITTED, constraints checked at once (so that a deferred one refuses in
 * the statement that it belongs to and not at COMMIT).
 *
 * Rejects with the port's errors, and with the error itself where it does not come from the database; the transaction
 * is then rolled back, or, if the connection broke at COMMIT, its outcome is unknown. All settings are
 * local to the transaction: nothing of it stays in the session.
 */
export async function inTransaction<T>(
  pool: pg.Pool,
  limits: TransactionLimits,
  work: (client: pg.PoolClient) => Promise<TransactionEnd<T>>,
  isolation: 'READ COMMITTED, READ WRITE' | 'REPEATABLE READ, READ ONLY' = 'READ COMMITTED, READ WRITE',
): Promise<T> {
  const client = await connect(pool);
  let broken: Error | undefined;
  const onError = (error: Error) => {
    broken = error;
  };
  client.on('error', onError);
  try {
    await client.query(
      `BEGIN ISOLATION LEVEL ${isolation};
       SET LOCAL lock_timeout = ${limits.lockMsMax};
       SET LOCAL statement_timeout = ${limits.statementMsMax};
       SET LOCAL idle_in_transaction_session_timeout = ${limits.idleMsMax};
       SET CONSTRAINTS ALL IMMEDIATE`,
    );
    const end = await work(client);
    const answer = await client.query(end.commit ? 'COMMIT' : 'ROLLBACK');
    // COMMIT of a transaction that an error has already ended answers ROLLBACK, and no error.
    if (end.commit && answer.command !== 'COMMIT') throw new Error(`COMMIT was answered by ${answer.command}`);
    return end.value;
  } catch (error) {
    if (broken === undefined) broken = await rollBack(client, error);
    throw portError(error);
  } finally {
    client.removeListener('error', onError);
    giveBack(client, broken);
  }
}

/**
 * One statement without a transaction of its own. Rejects as `inTransaction` does. `answerMsMax`: for those that may
 * read a whole table, instead of the pool's own bound.
 */
export async function runStatement(
  pool: pg.Pool,
  text: string,
  values: readonly unknown[] = [],
  answerMsMax?: number,
): Promise<pg.QueryResult> {
  const client = await connect(pool);
  let broken: Error | undefined;
  const onError = (error: Error) => {
    broken = error;
  };
  client.on('error', onError);
  try {
    const bound = answerMsMax === undefined ? {} : { query_timeout: answerMsMax };
    return await client.query({ text, values: [...values], ...bound });
  } catch (error) {
    if (classifyError(error) === 'unavailable') broken ??= error as Error;
    throw portError(error);
  } finally {
    client.removeListener('error', onError);
    giveBack(client, broken);
  }
}

/**
 * A connection that is unfit is cut here and now: a polite end would go the way on which nothing is answered, and the
 * server would keep the transaction and its locks until it gives up by itself.
 */
function giveBack(client: pg.PoolClient, broken: Error | undefined): void {
  if (broken !== undefined) socketOf(client)?.destroy();
  client.release(broken);
}

/** `pg` has no public way to cut a connection. */
function socketOf(client: pg.PoolClient): { destroy(): void } | undefined {
  return (client as unknown as { connection?: { stream?: { destroy(): void } } }).connection?.stream;
}

async function connect(pool: pg.Pool): Promise<pg.PoolClient> {
  try {
    return await pool.connect();
  } catch (error) {
    throw new DataTableUnavailableError(`the database can't be reached: ${describeError(error)}`, { cause: error });
  }
}

/** Returns the error that makes the connection unfit for further use, if there is one. */
async function rollBack(client: pg.PoolClient, error: unknown): Promise<Error | undefined> {
  // What ended a savepoint has become the port's error. Asking a silent server would wait for the time-out once more.
  if (error instanceof DataTableUnavailableError) return error;
  if (classifyError(error) === 'unavailable') return error instanceof Error ? error : new Error(String(error));
  try {
    await client.query('ROLLBACK');
    return undefined;
  } catch (failed) {
    return failed as Error;
  }
}
