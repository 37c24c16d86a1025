import Table from 'cli-table3';
import { showText } from './show-text.js';

export interface Column {
  readonly head: string;
  readonly align?: 'left' | 'right';
}

/** Text that is made safe first and painted then. */
interface Painted {
  readonly text: string;
  readonly paint: (text: string) => string;
}

type Cell = string | number | bigint | Painted | null | undefined;

/** Rows under a head, without borders; null shows as `-`. Empty text where there are no rows. */
export function renderTable(columns: readonly Column[], rows: readonly (readonly Cell[])[]): string {
  if (rows.length === 0) return '';
  const nothing = '';
  const table = new Table({
    head: columns.map((column) => column.head),
    colAligns: columns.map((column) => column.align ?? 'left'),
    chars: {
      top: nothing,
      'top-mid': nothing,
      'top-left': nothing,
      'top-right': nothing,
      bottom: nothing,
      'bottom-mid': nothing,
      'bottom-left': nothing,
      'bottom-right': nothing,
      left: nothing,
      'left-mid': nothing,
      mid: nothing,
      'mid-mid': nothing,
      right: nothing,
      'right-mid': nothing,
      middle: '  ',
    },
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 0, compact: true },
  });
  for (const row of rows) table.push(row.map(showCell));
  return table
    .toString()
    .split('\n')
    .map((line) => line.trimEnd())
    .join('\n');
}

function showCell(cell: Cell): string {
  if (cell === null || cell === undefined) return '-';
  return typeof cell === 'object' ? cell.paint(showText(cell.text)) : showText(String(cell));
}
