import { canonicalAccount, type TableMapping } from '@spill/core';
import type { Refusal } from './lock-accounts.js';

/** Why an account that is not written as the id column's type writes it has no row. */
export function notCanonical(account: string, mapping: TableMapping): Refusal {
  const canonical = canonicalAccount(account, mapping);
  return {
    reason: 'row_missing',
    detail:
      canonical === null
        ? `no ${mapping.idType} is written like this`
        : `as ${mapping.idType} this is written ${canonical}`,
  };
}
