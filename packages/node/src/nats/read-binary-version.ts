import { runProgram } from './run-program.js';

const VERSION_TIMEOUT_MS = 10_000;

/** The version of a nats-server binary, as `2.14.9`, from its own mouth. Rejects where it is no nats-server. */
export async function readBinaryVersion(path: string): Promise<string> {
  const output = await runProgram(path, ['--version'], { timeoutMs: VERSION_TIMEOUT_MS });
  const match = /^nats-server: v(\S+)/m.exec(output);
  if (!match?.[1]) throw new Error(`${path} --version answers ${JSON.stringify(output.trim().slice(0, 80))}`);
  return match[1];
}
