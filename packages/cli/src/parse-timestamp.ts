const ISO = /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{2}:\d{2}(?::\d{2})?)(?:\.(\d{1,6}))?(Z|[+-]\d{2}:\d{2}))?$/;
const MICROSECONDS = /^(?:0|[1-9][0-9]{0,15})$/;

/**
 * Microseconds since 1970-01-01 UTC, from just that (`1760000000000000`) or from ISO 8601 with a zone
 * (`2026-11-24T07:00:00Z`; a date alone is its midnight in UTC). null: neither.
 */
export function parseTimestamp(text: string): number | null {
  if (MICROSECONDS.test(text)) {
    const microseconds = Number(text);
    return Number.isSafeInteger(microseconds) ? microseconds : null;
  }
  const match = ISO.exec(text);
  if (!match) return null;
  const [, date, time = '00:00', fraction = '', zone = 'Z'] = match;
  const milliseconds = Date.parse(`${date}T${time.length === 5 ? `${time}:00` : time}${zone}`);
  if (Number.isNaN(milliseconds) || !isRealDay(date as string)) return null;
  const microseconds = milliseconds * 1_000 + Number(fraction.padEnd(6, '0'));
  return microseconds >= 0 ? microseconds : null;
}

/** `Date.parse` takes 31 February for 3 March. */
function isRealDay(date: string): boolean {
  const midnight = new Date(`${date}T00:00:00Z`);
  return !Number.isNaN(midnight.getTime()) && midnight.toISOString().startsWith(date);
}

/** `2026-11-24T07:00:00.000001Z`. */
export function showTimestamp(microseconds: number): string {
  const seconds = Math.floor(microseconds / 1_000_000);
  const rest = String(microseconds - seconds * 1_000_000).padStart(6, '0');
  return `${new Date(seconds * 1_000).toISOString().slice(0, 19)}.${rest}Z`;
}
