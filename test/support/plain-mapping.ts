/** Of the plain table `accounts(id text, balance bigint)` that tests make. */
export const PLAIN_MAPPING = {
  table: 'accounts',
  idColumn: 'id',
  idType: 'text',
  balanceColumn: 'balance',
  balanceType: 'int8',
  minorUnits: 0,
  createAccounts: false,
} as const;
