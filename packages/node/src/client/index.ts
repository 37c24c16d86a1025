/** The client SDK: `import { connect } from '@spill/node/client'`. */
export { type ErrorCode, SpillError, type SubmitResult, type TransactionKey } from '@spill/core';
export { connect } from './connect.js';
export type { CallOptions, SpillConnectOptions } from './options.js';
export { SpillClient } from './spill-client.js';
export type {
  AccountTransaction,
  Balance,
  BalanceError,
  RetrieveQuery,
  TransactionInput,
  TransactionList,
} from './types.js';
