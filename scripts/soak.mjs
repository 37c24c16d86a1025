#!/usr/bin/env node
/**
 * `npm run soak`: the long versions of test/fault and test/property, again and again with new seeds, until one fails or
 * it is interrupted. Each round's seeds are printed; `SPILL_TEST_SEED=<seed>` repeats one.
 *
 *   npm run soak                      until it fails
 *   npm run soak -- --loops 1         once
 *   npm run soak -- test/fault/kill   only these files
 */
import { spawnSync } from 'node:child_process';
import { parseArgs } from 'node:util';

const { values, positionals } = parseArgs({
  options: { loops: { type: 'string', default: 'Infinity' } },
  allowPositionals: true,
});
const loops = Number(values.loops);
if (!(loops >= 1)) {
  console.error(`--loops is ${JSON.stringify(values.loops)}: must be a number from 1 on, such as 3`);
  process.exit(2);
}
const files = positionals.length > 0 ? positionals : ['test/fault', 'test/property'];
const began = performance.now();
for (let loop = 1; loop <= loops; loop++) {
  console.log(`soak: loop ${loop}, ${new Date().toISOString()}`);
  // Forty times as many runs of a property take longer than one test may otherwise.
  const run = spawnSync('npx', ['vitest', 'run', '--testTimeout=3600000', ...files], {
    stdio: 'inherit',
    env: { ...process.env, SOAK: '1' },
  });
  if (run.status !== 0) {
    console.error(`soak: loop ${loop} failed after ${Math.round((performance.now() - began) / 60_000)} min`);
    process.exit(run.status ?? 1);
  }
}
console.log(`soak: ${loops} loops passed in ${Math.round((performance.now() - began) / 60_000)} min`);
