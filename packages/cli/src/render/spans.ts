import type { SlotSpan } from '@spill/core';

const SPANS_SHOWN = 4;

/** `0-511, 768-1023`: inclusive, as a person counts; many spans are cut short. */
export function showSpans(spans: readonly SlotSpan[]): string {
  const shown = spans.slice(0, SPANS_SHOWN).map(({ from, to }) => (to - from === 1 ? `${from}` : `${from}-${to - 1}`));
  const more = spans.length - shown.length;
  return more > 0 ? `${shown.join(', ')} and ${more} more` : shown.join(', ');
}
