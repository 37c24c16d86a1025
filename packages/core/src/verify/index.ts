export * from './compare-range.js';
export * from './findings.js';
export * from './judge-account.js';
export * from './judge-totals.js';
export * from './log-walk.js';
