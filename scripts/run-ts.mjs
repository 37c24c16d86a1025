// Runs one TypeScript file of this repository: node scripts/run-ts.mjs FILE [ARG …]
// Benchmarks share the tests' support code, which is TypeScript and never built; vite, which runs the tests, runs them.
import { resolve } from 'node:path';
import { createServer, createServerModuleRunner } from 'vite';

const [file, ...args] = process.argv.slice(2);
if (!file) throw new Error('usage: node scripts/run-ts.mjs FILE [ARG …]');
process.argv = [process.argv[0], resolve(file), ...args];
const server = await createServer({
  configFile: false,
  logLevel: 'error',
  appType: 'custom',
  server: { middlewareMode: true, hmr: false, ws: false, watch: null },
});
const runner = createServerModuleRunner(server.environments.ssr, { hmr: false });
try {
  await runner.import(resolve(file));
} finally {
  await runner.close();
  await server.close();
}
