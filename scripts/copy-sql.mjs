// Copies the numbered .sql migrations beside the compiled code that reads them (tsc copies only TypeScript).
import { cpSync } from 'node:fs';

const from = new URL('../packages/node/src/data-table/migrations/', import.meta.url);
const to = new URL('../packages/node/dist/data-table/migrations/', import.meta.url);
cpSync(from, to, { recursive: true });
