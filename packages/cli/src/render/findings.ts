import type { DoctorFinding } from '@spill/node';
import { type Colors, PLAIN } from './colors.js';
import { plural } from './numbers.js';
import { renderTable } from './table.js';

/** What was looked at, a line each, and how it came out. */
export function renderFindings(findings: readonly DoctorFinding[], colors: Colors = PLAIN): string {
  const paints = { ok: colors.green, warn: colors.yellow, error: colors.red };
  const table = renderTable(
    [{ head: '' }, { head: 'looked at' }, { head: 'found' }],
    findings.map(({ check, severity, message }) => [{ text: severity, paint: paints[severity] }, check, message]),
  );
  const errors = findings.filter(({ severity }) => severity === 'error').length;
  const warnings = findings.filter(({ severity }) => severity === 'warn').length;
  const verdict =
    errors + warnings === 0 ? 'all is well' : `${plural(errors, 'error')}, ${plural(warnings, 'warning')}`;
  return `${table}\n\n${verdict}`;
}
