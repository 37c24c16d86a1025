/**
 * Runs one scenario in a process of its own, so that no other one's garbage, caches or crash is in its figures:
 * `main.ts` starts it with the scenario's name and is told what is being done and what came of it.
 */
import type { ScenarioResult } from './scenario.js';
import { SCENARIOS } from './scenarios/index.js';

export type ToMain =
  | { readonly type: 'says'; readonly text: string }
  | { readonly type: 'result'; readonly result: ScenarioResult }
  | { readonly type: 'failed'; readonly message: string };

const tell = (message: ToMain): Promise<void> =>
  new Promise((resolve, reject) => {
    process.send?.(message, undefined, undefined, (error) => (error ? reject(error) : resolve()));
  });

// Servers and nodes are ended by what listens to this process's exit, which a signal by itself is not.
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(1));
process.once('disconnect', () => process.exit(1));

const scenario = SCENARIOS.find(({ name }) => name === process.argv[2]);
if (!scenario) throw new Error(`there is no scenario ${process.argv[2]}`);
try {
  await tell({ type: 'result', result: await scenario.run({ says: (text) => void tell({ type: 'says', text }) }) });
  process.exit(0);
} catch (error) {
  await tell({ type: 'failed', message: (error as Error).stack ?? String(error) });
  process.exit(1);
}
