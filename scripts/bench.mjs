// npm run bench [-- NAME …]: the whole table, or only the scenarios named. Some benchmarks stand alone and print a table
// of their own; they run only where they are named, with what arguments they take.
import { spawnSync } from 'node:child_process';
import { readdirSync } from 'node:fs';
import { prepare } from './prepare.mjs';

const ALONE = {
  jetstream: ['bench/jetstream.mjs'],
  migrations: ['scripts/run-ts.mjs', 'bench/migrations.ts'],
};
const SCENARIOS = readdirSync(new URL('../bench/scenarios/', import.meta.url))
  .map((file) => file.replace(/\.ts$/, ''))
  .filter((name) => name !== 'index');

const [first, ...more] = process.argv.slice(2);
const unknown = first in ALONE ? undefined : process.argv.slice(2).find((name) => !SCENARIOS.includes(name));
if (unknown !== undefined) {
  process.stderr.write(`there is no scenario ${unknown}: ${[...SCENARIOS, ...Object.keys(ALONE)].join(', ')}\n`);
  process.exit(2);
}
await prepare({ log: (message) => process.stderr.write(`${message}\n`) });
const command =
  first in ALONE ? [...ALONE[first], ...more] : ['scripts/run-ts.mjs', 'bench/main.ts', ...process.argv.slice(2)];
process.exitCode = spawnSync(process.execPath, command, { stdio: 'inherit' }).status ?? 1;
