import type { TableMapping } from '../ports.js';
import { isStorableText } from './is-storable-text.js';

const INTEGER = /^\s*[+-]?[0-9]+\s*$/;
const UUID = /^\{?[0-9a-f]{4}(?:-?[0-9a-f]{4}){7}\}?$/i;
const BOUNDS = { int4: 2n ** 31n, int8: 2n ** 63n } as const;

/**
 * The one text under which the data table's id column knows this account, or null where the column's type has no such
 * value. An account is accepted only where it is byte-equal to this: '7' and '07', or a uuid in upper and in lower
 * case, are one SQL row and must not become two accounts.
 *
 * `text` and `varchar` are compared by their bytes, so there every account is its own canonical form (columns with
 * another comparison are refused by the schema check).
 */
export function canonicalAccount(account: string, mapping: Pick<TableMapping, 'idType'>): string | null {
  switch (mapping.idType) {
    case 'text':
    case 'varchar':
      return isStorableText(account) ? account : null;
    case 'int4':
    case 'int8': {
      if (!INTEGER.test(account)) return null;
      const value = BigInt(account.trim().replace(/^\+/, ''));
      const bound = BOUNDS[mapping.idType];
      return value >= -bound && value < bound ? value.toString() : null;
    }
    case 'uuid': {
      if (!UUID.test(account) || account.startsWith('{') !== account.endsWith('}')) return null;
      const digits = account.replace(/[{}-]/g, '').toLowerCase();
      return [
        digits.slice(0, 8),
        digits.slice(8, 12),
        digits.slice(12, 16),
        digits.slice(16, 20),
        digits.slice(20),
      ].join('-');
    }
  }
}

/** Whether the account may be used with this table at all: byte-equal to its canonical text. */
export function isCanonicalAccount(account: string, mapping: Pick<TableMapping, 'idType'>): boolean {
  return canonicalAccount(account, mapping) === account;
}
