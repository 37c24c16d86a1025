import { showBytes, showCount } from './numbers.js';

/** A figure that a process may not have sent: null or absent shows as nothing. */
type Figure = number | null | undefined;

const shown =
  (show: (value: number) => string) =>
  (value: Figure): string | null =>
    value === null || value === undefined ? null : show(value);

export const count = shown(showCount);
export const bytes = shown(showBytes);
/** Of one core. */
export const percent = shown((value) => `${value} %`);
export const milliseconds = shown((value) => `${Math.round(value * 10) / 10} ms`);
