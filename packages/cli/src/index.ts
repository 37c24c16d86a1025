/** Parts of the command that stand on their own: for tests, and for whoever shows a cluster elsewhere. */
export { describeError, type ErrorDescription } from './describe-error.js';
export { EXIT } from './exit-codes.js';
export { type BatchOutcome, ImportJournal, type Reject } from './import/import-journal.js';
export { type ImportReport, importRows } from './import/import-rows.js';
export { type CsvRow, readCsv } from './import/read-csv.js';
export { scanCsv } from './import/scan-csv.js';
export { parseTimestamp, showTimestamp } from './parse-timestamp.js';
export { renderBalances } from './render/balances.js';
export { renderImportReport } from './render/import-report.js';
export { renderPerformance } from './render/performance.js';
export { renderRepair } from './render/repair.js';
export { renderSchema } from './render/schema.js';
export { renderConflicts, renderSetAside } from './render/set-aside.js';
export { renderLocation, renderShards } from './render/shards.js';
export { showText } from './render/show-text.js';
export { renderTopology } from './render/topology.js';
export { renderTransactions } from './render/transactions.js';
export { isClean, renderVerification } from './render/verification.js';
