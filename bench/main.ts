/**
 * `npm run bench`: every scenario one after the other, each in a process of its own, then one table and one JSON file.
 * `npm run bench -- NAME …` runs only these. Ends with 1 where a scenario failed: a fast wrong answer is no result.
 */
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import type { ToMain } from './run-scenario.js';
import type { Scenario, ScenarioResult } from './scenario.js';
import { SCENARIOS } from './scenarios/index.js';
import { machine, versions } from './support/machine.js';
import { showProgress } from './support/progress.js';
import { type BenchRun, firstLine, type Outcome, peerList, rowsOf, summary, table } from './table.js';

/**
 * For the client's process: what thousands of calls in flight hold should not be copied again and again, and what is
 * left of making a burst's transactions is collected before its clock starts (closed-loop.ts).
 */
const V8_FLAGS = ['--max-semi-space-size=64', '--heap-growing-percent=300', '--expose-gc'];

const RUN_TS = fileURLToPath(new URL('../scripts/run-ts.mjs', import.meta.url));
const RUN_SCENARIO = fileURLToPath(new URL('./run-scenario.ts', import.meta.url));
const README = new URL('./README.md', import.meta.url);
const RESULTS = new URL('./results/', import.meta.url);
/** A scenario that takes so much longer than as a rule hangs. */
const TIMES_MAX = 5;
const BETWEEN = /(<!-- last run -->\n)[\s\S]*(<!-- end of last run -->)/;

/** @throws Error where it ended without a result. */
async function runScenario({ name, seconds }: Scenario, says: (text: string) => void): Promise<ScenarioResult> {
  const child = spawn(process.execPath, [...V8_FLAGS, RUN_TS, RUN_SCENARIO, name], {
    stdio: ['ignore', 'inherit', 'pipe', 'ipc'],
  });
  let stderr = '';
  child.stderr?.on('data', (chunk: Buffer) => {
    stderr += chunk;
  });
  let result: ScenarioResult | null = null;
  let failure = '';
  child.on('message', (message: ToMain) => {
    if (message.type === 'says') says(message.text);
    else if (message.type === 'result') result = message.result;
    else failure = message.message;
  });
  const late = setTimeout(
    () => {
      failure = `not at its end after ${TIMES_MAX} times the ${seconds} s that it takes as a rule`;
      child.kill('SIGTERM');
    },
    seconds * TIMES_MAX * 1_000,
  );
  const [code, signal] = await once(child, 'close');
  clearTimeout(late);
  if (code !== 0 || !result) throw new Error(failure || `${signal ?? `code ${code}`}: ${stderr.slice(-4_000)}`);
  return result;
}

const names = process.argv.slice(2);
const scenarios = SCENARIOS.filter(({ name }) => names.length === 0 || names.includes(name));
const started = performance.now();
const on = { machine: machine(), versions: await versions(), sync: 'always' };
const whole = scenarios.length === SCENARIOS.length;
const file = new URL(`${whole ? 'bench' : scenarios.map(({ name }) => name).join('-')}.json`, RESULTS);
const progress = showProgress(scenarios);
const outcomes: Outcome[] = [];
const runSoFar = (): BenchRun => ({
  ...on,
  seconds: Math.round((performance.now() - started) / 1_000),
  outcomes,
});
mkdirSync(RESULTS, { recursive: true });
for (const scenario of scenarios) {
  const { name } = scenario;
  const from = performance.now();
  progress.begins(scenario);
  const outcome = await runScenario(scenario, (text) => progress.says(text)).then(
    (result) => ({ name, result, failure: null }),
    (error: Error) => ({ name, result: null, failure: error.message }),
  );
  const seconds = Math.round((performance.now() - from) / 1_000);
  outcomes.push({ ...outcome, seconds });
  // At once: a run that is broken off keeps what it has.
  writeFileSync(file, `${JSON.stringify({ ...runSoFar(), table: rowsOf(outcomes) }, null, 2)}\n`);
  progress.ends(outcome.failure ? `failed after ${seconds} s: ${firstLine(outcome.failure)}` : `${seconds} s`);
}
progress.close();

const shown = `${table(outcomes)}\n\n${peerList(outcomes)}`;
console.log(`\n${shown}\n\n${summary(runSoFar())}\nwritten to ${fileURLToPath(file)}`);
if (whole) {
  const readme = readFileSync(README, 'utf8');
  writeFileSync(
    README,
    readme.replace(BETWEEN, (_, begin, end) => `${begin}\n${summary(runSoFar())}\n\n${shown}\n\n${end}`),
  );
}
// As everything in this repository, so that they can be committed.
execFileSync('node_modules/.bin/biome', ['format', '--write', fileURLToPath(file), fileURLToPath(README)]);
if (outcomes.some(({ failure }) => failure)) process.exitCode = 1;
