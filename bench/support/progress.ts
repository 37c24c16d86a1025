import { Presets, SingleBar } from 'cli-progress';
import type { Scenario } from '../scenario.js';

export interface Progress {
  begins(scenario: Scenario): void;
  says(text: string): void;
  ends(how: string): void;
  close(): void;
}

const TICK_MS = 500;

/** On standard error: a bar on a terminal, else a line for each step. */
export function showProgress(scenarios: readonly Scenario[]): Progress {
  return process.stderr.isTTY ? bar(scenarios) : lines();
}

function lines(): Progress {
  let name = '';
  let from = 0;
  const write = (text: string): void => {
    process.stderr.write(`${name} ${((performance.now() - from) / 1_000).toFixed(0).padStart(3)} s  ${text}\n`);
  };
  return {
    begins: (scenario) => {
      name = scenario.name;
      from = performance.now();
    },
    says: write,
    ends: (how) => write(`done: ${how}`),
    close: () => {},
  };
}

/** Counts the seconds that scenarios take as a rule; one that takes longer stands still at its end. */
function bar(scenarios: readonly Scenario[]): Progress {
  const total = scenarios.reduce((sum, { seconds }) => sum + seconds, 0);
  const format = '{bar} {percentage} % | {name}: {text}';
  const shown = new SingleBar(
    { format, stream: process.stderr, hideCursor: true, barsize: 24 },
    Presets.shades_classic,
  );
  let before = 0;
  let current: Scenario | null = null;
  let from = 0;
  shown.start(total, 0, { name: '', text: '' });
  const timer = setInterval(() => {
    if (current) shown.update(before + Math.min(current.seconds, (performance.now() - from) / 1_000));
  }, TICK_MS);
  return {
    begins: (scenario) => {
      current = scenario;
      from = performance.now();
      shown.update(before, { name: scenario.name, text: 'starts' });
    },
    says: (text) => shown.update({ text }),
    ends: (how) => {
      before += current?.seconds ?? 0;
      shown.update(before, { text: how });
    },
    close: () => {
      clearInterval(timer);
      shown.stop();
    },
  };
}
