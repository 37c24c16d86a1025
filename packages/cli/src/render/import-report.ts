import type { ImportReport } from '../import/import-rows.js';
import { plural, showCount } from './numbers.js';
import { showText } from './show-text.js';
import { renderTable } from './table.js';

/** What became of a file's rows, the rejected ones with their lines. */
export function renderImportReport(file: string, report: ImportReport, seconds: number): string {
  const { rows, stored, duplicate, applied, rejected, resumed, rejects } = report;
  const rate = seconds > 0 ? ` (${showCount(Math.round((rows - resumed) / seconds))}/s)` : '';
  const figures = [
    ['stored', stored],
    ['duplicate', duplicate],
    ...(applied > 0 ? [['applied', applied] as const] : []),
    ['rejected', rejected],
  ] as const;
  const width = Math.max(...figures.map(([, figure]) => showCount(figure).length));
  const lines = [
    `${showText(file)}: ${plural(rows, 'row')} in ${seconds.toFixed(1)} s${rate}`,
    ...figures.map(([name, figure]) => `  ${name.padEnd(9)}  ${showCount(figure).padStart(width)}`),
  ];
  if (resumed > 0) lines.push(`  of these ${plural(resumed, 'row')} by the import that was cut off`);
  if (rejects.length > 0) {
    const table = renderTable(
      [{ head: 'line', align: 'right' }, { head: 'id' }, { head: 'code' }, { head: 'why' }],
      rejects.map(({ line, id, code, message }) => [line, id, code, message]),
    );
    lines.push('', table);
    if (rejected > rejects.length) lines.push(`and ${showCount(rejected - rejects.length)} more`);
  }
  return lines.join('\n');
}
