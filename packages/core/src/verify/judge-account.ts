import type { AccountTotals } from '../ports.js';
import type { Finding } from './findings.js';

/**
 * What an account's row says beside what spill added to it: null where row = opening + applied, or where spill has not
 * changed it. Other code may write the row, so a drift is only an error where spill alone may (`exclusive`).
 */
export function judgeAccount(totals: AccountTotals): Finding | null {
  const { account, row, rowProblem, opening, drift } = totals;
  const name = `account ${JSON.stringify(account)}`;
  const applied = totals.ownApplied.sum + totals.movedIn.sum;
  if (rowProblem !== null) return { message: `${name}: ${rowProblem}`, account };
  if (row === null) {
    const changed = totals.ownApplied.count + totals.movedIn.count > 0n;
    return changed ? { message: `${name} has ${applied} applied, but its row is gone`, account } : null;
  }
  if (drift === null || drift === 0n) return null;
  const expected = opening === null ? null : opening + applied;
  return {
    message:
      `${name}: its row is ${row}, opening ${opening ?? 'unknown'} and applied ${applied} make ${expected ?? 'no sum'}: ` +
      `something else changed it by ${drift}`,
    account,
    amount: row.toString(),
    ...(expected !== null && { expected: expected.toString() }),
  };
}
