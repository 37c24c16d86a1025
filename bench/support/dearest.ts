import type { Figure } from '../scenario.js';
import type { Rounds } from './rounds.js';

/** How many times what a transaction costs at the best it costs at the worst, by the medians of the parts. */
export function dearest(id: string, measured: ReadonlyMap<string, Rounds>): Figure {
  const rates = [...measured.values()].map(({ median }) => median.value);
  const told = [...measured].map(
    ([name, { median }]) => `${name}: ${Math.round(median.value).toLocaleString('en-US')}/s`,
  );
  return { id, value: Math.max(...rates) / Math.min(...rates), detail: told.join('; ') };
}
