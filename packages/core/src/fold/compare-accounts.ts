/**
 * Orders texts by their UTF-8 bytes, as SQL's `COLLATE "C"` does. Every place that locks several accounts uses this
 * order; two places with two orders would deadlock.
 *
 * UTF-8 orders by code point. UTF-16 units do as well, except that surrogates (code points from U+10000 on) must come
 * after U+E000 to U+FFFF.
 */
export function compareAccounts(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i += 1) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x !== y) return rank(x) - rank(y);
  }
  return a.length - b.length;
}

/** The same accounts in this order. Without the units that make the difference, the engine's own order is the same. */
export function sortedAccounts(accounts: readonly string[]): string[] {
  return accounts.some((account) => FROM_SURROGATES.test(account))
    ? [...accounts].sort(compareAccounts)
    : [...accounts].sort();
}

const FROM_SURROGATES = /[\ud800-\uffff]/;

function rank(unit: number): number {
  if (unit < 0xd800) return unit;
  return unit < 0xe000 ? unit + 0x2000 : unit - 0x800;
}
