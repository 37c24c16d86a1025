import type { ActionsReply, PlannedActionReply } from '@spill/node';
import { showCount } from './numbers.js';
import { showText } from './show-text.js';

/** `move_slots in credit, shard 1 to 4: why`. */
export function renderAction(action: PlannedActionReply): string {
  const way = action.source === undefined ? '' : `, shard ${action.source} to ${action.target}`;
  return `${action.action} in ${action.pool}${way}: ${showText(action.reason)}`;
}

/** Each action with what was measured when it was decided. */
export function renderActions({ actions }: ActionsReply): string {
  return actions
    .map(({ at, by, action, figures }) => {
      const measured = figures.map(
        ({ shard, cpu, memory, rate }) =>
          `    shard ${shard}: CPU ${percent(cpu)}, memory ${percent(memory)}, ${showCount(Math.round(rate))}/s`,
      );
      return [`${at}  ${renderAction(action)} (${showText(by)})`, ...measured].join('\n');
    })
    .join('\n');
}

function percent(fraction: number): string {
  return `${Math.round(fraction * 100)} %`;
}
