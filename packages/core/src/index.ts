export * from './ports.js';
export * from './topology/pool.js';
export * from './topology/topology.js';
export * from './transaction/transaction.js';
