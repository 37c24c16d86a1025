import type { Finding } from '@spill/core';
import type { VerifyReply } from '@spill/node';
import { plural, showCount } from './numbers.js';
import { showText } from './show-text.js';

/** What each kind of finding means, worst first. */
const KINDS = [
  ['lost', 'acknowledged, and neither in the ledger nor pending'],
  ['duplicated', 'counted more than once'],
  ['mismatched', 'log and ledger say different things'],
  ['damaged', 'a log with something missing: see "spill doctor"'],
  ['conflicts', 'open, the same id with another amount: see "spill conflicts list"'],
  ['drift', 'rows that other code changed'],
] as const;

const EXAMPLES_SHOWN = 10;

/**
 * `exclusive`: nothing but spill may change the rows, so drift is an error. A conflict is none: it is accounted for, and
 * `spill doctor` alarms until somebody resolves it.
 */
export function isClean(reply: VerifyReply, exclusive: boolean): boolean {
  return reply.ok && !(exclusive && reply.drift > 0);
}

export function renderVerification(reply: VerifyReply, exclusive: boolean): string {
  const lines = KINDS.filter(([kind]) => reply[kind] > 0).flatMap(([kind, meaning]) => [
    `${kind === 'conflicts' ? plural(reply.conflicts, 'conflict') : `${showCount(reply[kind])} ${kind}`}: ${meaning}`,
    ...examples(reply.examples[kind], reply[kind]),
  ]);
  for (const { shard, lost, who, why } of reply.accepted_losses) {
    lines.push(`on record: shard ${shard} lost ${showText(lost)}, accepted by ${showText(who)}: ${showText(why)}`);
  }
  const scope = `${plural(reply.checked, 'transaction')} of ${plural(reply.accounts, 'account')} checked`;
  const verdict = isClean(reply, exclusive) ? 'nothing lost, nothing twice' : 'something is wrong';
  return [...lines, `${verdict}: ${scope}, ${showCount(reply.pending)} not folded yet`].join('\n');
}

function examples(findings: readonly Finding[], count: number): string[] {
  const shown = findings.slice(0, EXAMPLES_SHOWN).map(({ message }) => `    ${showText(message)}`);
  return count > shown.length ? [...shown, `    and more: --json has the first ${findings.length}`] : shown;
}
