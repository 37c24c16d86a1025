import type { VerifyReply } from '@spill/node';
import { plural, showCount } from './numbers.js';
import { showText } from './show-text.js';

/** What each kind of finding means, worst first. */
const KINDS = [
  ['lost', 'acknowledged, and neither in the ledger nor pending'],
  ['duplicated', 'counted more than once'],
  ['mismatched', 'log and ledger say different things'],
  ['damaged', 'a log with something missing: see "spill doctor"'],
  ['conflicts', 'the same id with another amount: see "spill conflicts list"'],
  ['drift', 'rows that other code changed'],
] as const;

const EXAMPLES_SHOWN = 10;

/** `exclusive`: nothing but spill may change the rows, so drift is an error. */
export function isClean(reply: VerifyReply, exclusive: boolean): boolean {
  return KINDS.every(([kind]) => reply[kind] === 0 || (kind === 'drift' && !exclusive));
}

export function renderVerification(reply: VerifyReply, exclusive: boolean): string {
  const lines = KINDS.filter(([kind]) => reply[kind] > 0).flatMap(([kind, meaning]) => [
    `${kind.padEnd(10)} ${showCount(reply[kind])}  ${meaning}`,
    ...examples(reply.examples?.[kind] ?? []),
  ]);
  const verdict = isClean(reply, exclusive)
    ? `nothing lost, nothing twice: ${plural(reply.checked, 'account')} checked`
    : `${plural(reply.checked, 'account')} checked, something is wrong`;
  return [...lines, verdict].join('\n');
}

function examples(items: readonly unknown[]): string[] {
  const shown = items.slice(0, EXAMPLES_SHOWN).map((item) => `    ${showExample(item)}`);
  return items.length > shown.length ? [...shown, `    and more: --json has the first ${items.length}`] : shown;
}

function showExample(item: unknown): string {
  if (typeof item !== 'object' || item === null) return showText(String(item));
  return Object.entries(item)
    .filter(([, value]) => value !== null && value !== undefined)
    .map(([key, value]) => `${key} ${showText(typeof value === 'object' ? JSON.stringify(value) : String(value))}`)
    .join(', ');
}
