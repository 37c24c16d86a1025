// npm run bench [-- SCENARIO [ARG …]]: runs one scenario of bench/, or all of them one after the other.
import { spawnSync } from 'node:child_process';
import { prepare } from './prepare.mjs';

const SCENARIOS = {
  jetstream: ['bench/jetstream.mjs'],
  'hot-account': ['scripts/run-ts.mjs', 'bench/hot-account.ts'],
};

const [name, ...args] = process.argv.slice(2);
if (name && !(name in SCENARIOS)) {
  process.stderr.write(`there is no scenario ${name}: ${Object.keys(SCENARIOS).join(', ')}\n`);
  process.exit(2);
}
await prepare({ log: (message) => process.stderr.write(`${message}\n`) });
for (const scenario of name ? [name] : Object.keys(SCENARIOS)) {
  process.stderr.write(`== ${scenario}\n`);
  const { status } = spawnSync(process.execPath, [...SCENARIOS[scenario], ...args], { stdio: 'inherit' });
  if (status !== 0) process.exit(status ?? 1);
}
