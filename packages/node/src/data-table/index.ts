export * from './embedded-database.js';
export * from './ensure-default-table.js';
export * from './postgres-data-table.js';
