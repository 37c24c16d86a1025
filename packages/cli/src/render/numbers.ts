const GROUPS = /\B(?=(\d{3})+(?!\d))/g;

/** `12,942`: for counts. Amounts are shown as they are, to be copied. */
export function showCount(count: number | bigint): string {
  return String(count).replace(GROUPS, ',');
}

/** `1 row`, `2 rows`. */
export function plural(count: number | bigint, one: string, many = `${one}s`): string {
  return `${showCount(count)} ${BigInt(count) === 1n ? one : many}`;
}

/** `12.3 MiB`. */
export function showBytes(bytes: number): string {
  let value = bytes;
  for (const unit of ['B', 'KiB', 'MiB', 'GiB']) {
    if (value < 1_024) return `${unit === 'B' ? value : value.toFixed(1)} ${unit}`;
    value /= 1_024;
  }
  return `${value.toFixed(1)} TiB`;
}
