import type { ActionReply, ActionsReply, RebalanceReply } from '@spill/node';
import { plural, showCount } from './numbers.js';
import { showText } from './show-text.js';
import { showSpans } from './spans.js';

/** `128 slots of pool credit (0-127) go from shard 1 to shard 4: why`. */
export function renderAction(action: ActionReply): string {
  return showText(`${whatIsDone(action)}: ${action.reason}`);
}

function whatIsDone(action: ActionReply): string {
  switch (action.action) {
    case 'create_shard':
      return `${action.shard === undefined ? 'a new shard' : `shard ${action.shard}`} is made in pool ${action.pool}`;
    case 'delete_shard':
      return `shard ${action.shard} of pool ${action.pool} is taken away`;
    case 'move_slots': {
      const { pool, source, target, slots } = action;
      const count = slots.reduce((sum, { from, to }) => sum + to - from, 0);
      const go = count === 1 ? 'goes' : 'go';
      return `${plural(count, 'slot')} of pool ${pool} (${showSpans(slots)}) ${go} from shard ${source} to shard ${target}`;
    }
    case 'reassign_shard':
      return `shard ${action.shard} goes from node ${action.from} to node ${action.to}`;
    case 'remove_node':
      return `node ${action.node} is taken out of the list`;
    default:
      // Of a cluster that is newer than this command: its name at least.
      return (action satisfies never as ActionReply).action;
  }
}

/** A plan, or what was done of it, and why pools are left alone. */
export function renderPlan({ actions, notes }: RebalanceReply): string {
  const lines = actions.map((action) => renderAction(action));
  return [...(lines.length > 0 ? lines : ['nothing to do']), ...notes.map(showText)].join('\n');
}

/** Each action with what was measured when it was planned. */
export function renderActions({ actions }: ActionsReply): string {
  return actions
    .map(({ at, by, action, figures }) => {
      const measured = figures.map(
        ({ shard, cpu, memory, rate }) =>
          `    shard ${shard}: CPU ${percent(cpu)}, memory ${percent(memory)}, ${showCount(Math.round(rate))}/s`,
      );
      return [`${showText(at)}  ${renderAction(action)} (${showText(by)})`, ...measured].join('\n');
    })
    .join('\n');
}

function percent(fraction: number): string {
  return `${Math.round(fraction * 100)} %`;
}
