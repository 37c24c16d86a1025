// Runs one TypeScript file of this repository: node scripts/run-ts.mjs FILE [ARG …]
// Benchmarks share the tests' support code, which is TypeScript and never built. Its types are taken out as it is loaded
// (typescript-hooks.mjs); everything else is loaded by Node itself, so that a benchmark's client runs as a user's does.
import { register } from 'node:module';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const [file, ...args] = process.argv.slice(2);
if (!file) throw new Error('usage: node scripts/run-ts.mjs FILE [ARG …]');
process.argv = [process.argv[0], resolve(file), ...args];
register('./typescript-hooks.mjs', import.meta.url);
await import(pathToFileURL(resolve(file)).href);
