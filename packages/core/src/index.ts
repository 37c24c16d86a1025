export * from './ports.js';
export * from './shard/ask-protocol.js';
export * from './shard/submit-protocol.js';
export * from './topology/pool.js';
export * from './topology/topology.js';
export * from './transaction/batch.js';
export * from './transaction/text.js';
export * from './transaction/transaction.js';
