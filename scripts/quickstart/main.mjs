import { prepare } from '../prepare.mjs';

/**
 * Runs the quick start and sets the exit code: 0 only where everything is right to the last unit. On Ctrl-C (or
 * SIGTERM, or where the terminal goes away) what it started is stopped first.
 */
export async function main() {
  const asked = new AbortController();
  for (const name of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
    process.on(name, () => {
      if (!asked.signal.aborted) console.error(`\n${name}: stopping ...`);
      asked.abort(new Error(`stopped by ${name}`));
    });
  }
  try {
    const server = await prepareHere(asked.signal);
    // Loaded only now: it needs the dependencies and the build.
    const { quickstart } = await import('./quickstart.mjs');
    process.exitCode = (await quickstart({ natsServer: server.path, signal: asked.signal })) ? 0 : 1;
  } catch (error) {
    const stopped = asked.signal.aborted;
    console.error(stopped ? 'The quick start was stopped; nothing is left running.' : `\n${error.message}`);
    process.exitCode = stopped ? 130 : 1;
  }
}

/** A SPILL_NATS_SERVER that can't be used is no reason to fail here: the quick start finds its own. */
async function prepareHere(signal) {
  const log = (message) => console.log(message);
  try {
    return await prepare({ log, signal });
  } catch (error) {
    if (error.code !== 'NATS_SERVER_UNUSABLE') throw error;
    log(`${error.message}; the quick start goes on without it`);
    return prepare({ log, signal, env: { ...process.env, SPILL_NATS_SERVER: '' } });
  }
}
