// Makes sure that there is a nats-server to run, getting one where there is none, and prints its path. The logic lives
// in packages/node/src/nats/provide-nats-server.ts, for `spill-node start` needs it too; so build first.
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const BUILT = new URL('../packages/node/dist/nats/provide-nats-server.js', import.meta.url);

/**
 * @param {{ log?: (message: string) => void, env?: NodeJS.ProcessEnv, cacheDir?: string }} [options]
 * @returns {Promise<{ path: string, version: string, source: string, warning?: string }>}
 */
export async function provideNatsServer(options = {}) {
  if (!existsSync(BUILT)) throw new Error('the packages are not built yet: npm run build');
  const built = await import(BUILT.href);
  return built.provideNatsServer(options);
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    const server = await provideNatsServer({ log: (message) => console.error(message) });
    if (server.warning) console.error(`warning: ${server.warning}`);
    console.error(`nats-server ${server.version} (from ${server.source})`);
    console.log(server.path);
  } catch (error) {
    console.error(error.message);
    process.exitCode = 1;
  }
}
