import { TransientDataTableError } from '@spill/core';
import type pg from 'pg';
import { accountKeys, accountsParameter } from './account-keys.js';
import { int8Array } from './binary-array.js';
import { classifyError, describeError, setAsideReason, sqlState } from './classify-error.js';
import type { DataTableContext } from './data-table-context.js';
import { type Refusal, refusalsMax } from './lock-accounts.js';
import { NotEveryRowError } from './not-every-row-error.js';
import { withSavepoint } from './with-savepoint.js';

/** What is added to one row, in minor units. */
export interface Change {
  readonly account: string;
  readonly delta: bigint;
}

/** Among more accounts, those that refuse are not looked for: all of them would be locked for seconds meanwhile. */
const LOOKED_AT_MAX = 20_000;

const INT8_MIN = -(2n ** 63n);
const INT8_MAX = 2n ** 63n - 1n;

/**
 * Adds to the balances of locked rows (accounts ascending). One statement where all goes well; what a constraint, a
 * trigger or the column's range refuses is narrowed down to its accounts by savepoint and halving, and returned.
 * Transient errors and lost connections are thrown, and where a great many accounts of what is `divisible` hold one that
 * refuses, a `TransientDataTableError`, to be tried again in smaller parts.
 */
export async function changeBalances(
  client: pg.PoolClient,
  context: DataTableContext,
  changes: readonly Change[],
  divisible = false,
): Promise<Map<string, Refusal>> {
  const refused = new Map<string, Refusal>();
  const needed = changes.filter((change) => change.delta !== 0n);
  const parts = needed.length === 0 ? [] : [needed];
  while (parts.length > 0) {
    const part = parts.pop()!;
    const refusal = await tryPart(client, context, part);
    if (refusal === null) continue;
    if (divisible && part.length > LOOKED_AT_MAX) {
      throw new TransientDataTableError(`looked at more closely in a smaller fold: ${refusal.detail}`, '40001');
    }
    if (part.length > 1 && refused.size < refusalsMax(needed.length)) {
      const middle = part.length >> 1;
      parts.push(part.slice(middle), part.slice(0, middle));
      continue;
    }
    const because: Refusal =
      part.length === 1
        ? refusal
        : { reason: 'sql_error', detail: `not tried alone, since too many rows were refused: ${refusal.detail}` };
    for (const change of part) refused.set(change.account, because);
  }
  return refused;
}

/** null: every row of the part was changed. */
async function tryPart(
  client: pg.PoolClient,
  { sql, mapping }: DataTableContext,
  part: readonly Change[],
): Promise<Refusal | null> {
  const accounts = accountKeys(
    part.map((change) => change.account),
    mapping,
  );
  const deltas = part.map((change) => change.delta);
  const narrow = deltas.every((delta) => delta >= INT8_MIN && delta <= INT8_MAX);
  const keyArray = accountsParameter(1, sql.keyArray, part.length);
  const deltaArray = accountsParameter(2, narrow ? 'int8[]' : 'numeric[]', part.length);
  try {
    return await withSavepoint(client, 'changing', async () => {
      const result = await client.query(
        `UPDATE ${sql.table} t SET ${sql.balanceColumn} = ${narrow ? sql.addInt8 : sql.addNumeric}
         FROM unnest(${keyArray}, ${deltaArray}) d(key, delta)
         WHERE t.${sql.idColumn} = d.key AND ${sql.usable}`,
        [accounts, narrow ? int8Array(deltas) : `{${deltas.join(',')}}`],
      );
      if (result.rowCount !== part.length) throw new NotEveryRowError(part.length, result.rowCount ?? 0);
      return null;
    });
  } catch (error) {
    if (error instanceof NotEveryRowError) return { reason: 'constraint', detail: error.message };
    const kind = classifyError(error);
    if (sqlState(error) === undefined || (kind !== 'statement' && kind !== 'schema')) throw error;
    return { reason: setAsideReason(error), detail: describeError(error) };
  }
}
