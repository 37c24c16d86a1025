// Serves the embedded database of a data folder until it is killed.
import { startEmbeddedDatabase } from '@spill/node';

await startEmbeddedDatabase({ dataDir: process.argv[2] });
console.log('ready');
